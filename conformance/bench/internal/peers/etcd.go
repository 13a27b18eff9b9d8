package peers

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

const (
	etcdName  = "etcd"
	etcdQuota = 8 << 30 // the most that is recommended: it must not run full
	ttl       = 30      // seconds, of sessions
)

// etcd is three processes of the server from its module, and its own client's mutex.
type etcd struct {
	version   string
	endpoints []string
}

func (e *etcd) about() results.Peer {
	return results.Peer{Name: etcdName, Version: e.version, Durability: "on the disks of a majority of 3, fsynced"}
}

func (e *etcd) start(ctx context.Context, s *servers) error {
	binary := filepath.Join(s.Root, ".bin", "etcd")
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return fmt.Errorf("%w (hint: make .bin/etcd)", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	e.version = strings.TrimSpace(strings.TrimPrefix(first, "etcd Version:"))
	port, err := proc.FreePorts(6)
	if err != nil {
		return err
	}
	url := func(i int) string { return "http://" + proc.Address(port+i) }
	var members []string
	for i := range 3 {
		members = append(members, fmt.Sprintf("etcd%d=%s", i, url(3+i)))
		e.endpoints = append(e.endpoints, url(i))
	}
	for i := range 3 {
		name := fmt.Sprintf("etcd%d", i)
		_, err := s.group.Start(proc.Command{
			Name: name, Path: binary, LogFile: filepath.Join(s.dir, name+".log"),
			Args: []string{"--name", name, "--data-dir", filepath.Join(s.dir, name), "--log-level", "error",
				"--listen-client-urls", url(i), "--advertise-client-urls", url(i),
				"--listen-peer-urls", url(3 + i), "--initial-advertise-peer-urls", url(3 + i),
				"--initial-cluster", strings.Join(members, ","), "--quota-backend-bytes", fmt.Sprint(etcdQuota)},
		})
		if err != nil {
			return err
		}
	}
	return e.waitServing(ctx)
}

func (e *etcd) client(ctx context.Context) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: e.endpoints, Context: ctx, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
}

func (e *etcd) waitServing(ctx context.Context) error {
	c, err := e.client(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for {
		_, err := c.Put(ctx, "bench-start", "")
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func (e *etcd) connect(ctx context.Context, callers int, one bool, prefix string) (lock, func(), error) {
	n := shared(callers)
	clients := make([]*clientv3.Client, n)
	closeAll := func() {
		for _, c := range clients {
			if c != nil {
				_ = c.Close()
			}
		}
	}
	for i := range clients {
		c, err := e.client(ctx)
		if err != nil {
			return nil, closeAll, err
		}
		clients[i] = c
	}
	// A mutex's key is its name and its session, so callers of one lock cannot share a session.
	if one {
		n = callers
	}
	sessions, err := openSessions(ctx, clients, n)
	if err != nil {
		return nil, closeAll, err
	}
	mutexes := make([]*concurrency.Mutex, callers)
	for i := range mutexes {
		mutexes[i] = concurrency.NewMutex(sessions[i%n], lockName(prefix, i, one))
	}
	closeSessions := func() {
		var all sync.WaitGroup
		for _, s := range sessions {
			all.Go(func() { _ = s.Close() }) // its lease ends by itself, if not now
		}
		all.Wait()
		closeAll()
	}
	return func(ctx context.Context, caller int) (func(context.Context) error, error) {
		if err := mutexes[caller].Lock(ctx); err != nil {
			return nil, err
		}
		return mutexes[caller].Unlock, nil
	}, closeSessions, nil
}

func openSessions(ctx context.Context, clients []*clientv3.Client, n int) ([]*concurrency.Session, error) {
	sessions, failed := make([]*concurrency.Session, n), make([]error, n)
	var all sync.WaitGroup
	for i := range sessions {
		all.Go(func() {
			sessions[i], failed[i] = concurrency.NewSession(clients[i%len(clients)],
				concurrency.WithTTL(ttl), concurrency.WithContext(ctx))
		})
	}
	all.Wait()
	return sessions, errors.Join(failed...)
}
