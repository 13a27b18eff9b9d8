package peers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

const (
	redisName  = "Redis"
	redisRetry = time.Millisecond // between two attempts at a lock that is held
)

// redis is one process of the Debian package; nothing is replicated.
type redis struct {
	fsync   bool
	version string
	address string
}

func (r *redis) about() results.Peer {
	p := results.Peer{Name: redisName, Version: r.version, Durability: "nowhere: in the memory of one process"}
	if r.fsync {
		p.Name, p.Durability = redisName+", fsync", "on the disk of one process, fsynced (appendfsync always)"
	}
	return p
}

func (r *redis) start(ctx context.Context, s *servers) error {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w (hint: conformance/bench/install-peers.sh)", err)
	}
	r.version = packageVersion(ctx, "redis-server")
	port, err := proc.FreePorts(1)
	if err != nil {
		return err
	}
	r.address = proc.Address(port)
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", s.dir, "--save", "", "--daemonize", "no",
		"--appendonly", "no"}
	if r.fsync {
		args = append(args[:len(args)-1], "yes", "--appendfsync", "always")
	}
	if _, err := s.group.Start(proc.Command{
		Name: "redis", Path: binary, Args: args, LogFile: filepath.Join(s.dir, "redis.log")}); err != nil {
		return err
	}
	c := r.client(1)
	defer func() { _ = c.Close() }()
	for {
		err := c.Ping(ctx).Err()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(redisRetry)
	}
}

func (r *redis) client(callers int) *client.Client {
	return client.NewClient(&client.Options{Addr: r.address, PoolSize: callers, MaxActiveConns: callers, MaxRetries: -1,
		PoolTimeout: drain, DisableIdentity: true, Protocol: 2,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
}

// unlockScript deletes a key if it still has our value.
var unlockScript = client.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`)

func (r *redis) connect(_ context.Context, callers int, one bool, prefix string) (lock, func(), error) {
	c := r.client(callers)
	names := make([]string, callers)
	for i := range names {
		names[i] = lockName(prefix, i, one)
	}
	return func(ctx context.Context, caller int) (func(context.Context) error, error) {
		value := strconv.Itoa(caller)
		for {
			ok, err := c.SetNX(ctx, names[caller], value, ttl*time.Second).Result()
			if err != nil {
				return nil, err
			}
			if ok {
				break
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(redisRetry):
			}
		}
		return func(ctx context.Context) error {
			gone, err := unlockScript.Run(ctx, c, []string{names[caller]}, value).Int()
			if err == nil && gone == 0 {
				err = errors.New("the lock was lost")
			}
			return err
		}, nil
	}, func() { _ = c.Close() }, nil
}
