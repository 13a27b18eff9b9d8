package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/load"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/proc"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
)

const (
	zookeeperName = "ZooKeeper"
	zookeeperJar  = "/usr/share/java/zookeeper.jar"
)

// zookeeper is three processes of the Debian package, and the lock recipe of the Go client.
type zookeeper struct {
	version string
	servers []string
}

func (z *zookeeper) about() results.Peer {
	return results.Peer{Name: zookeeperName, Version: z.version, Durability: "on the disks of a majority of 3, fsynced"}
}

const zookeeperConfig = `tickTime=2000
initLimit=10
syncLimit=5
dataDir=%s
clientPort=%d
clientPortAddress=127.0.0.1
maxClientCnxns=0
forceSync=yes
admin.enableServer=false
4lw.commands.whitelist=ruok
autopurge.purgeInterval=1
server.1=127.0.0.1:%d:%d
server.2=127.0.0.1:%d:%d
server.3=127.0.0.1:%d:%d
`

const zookeeperLog = `log4j.rootLogger=WARN, CONSOLE
log4j.appender.CONSOLE=org.apache.log4j.ConsoleAppender
log4j.appender.CONSOLE.layout=org.apache.log4j.PatternLayout
log4j.appender.CONSOLE.layout.ConversionPattern=%d %-5p %c: %m%n
`

func (z *zookeeper) start(ctx context.Context, s *servers) error {
	if _, err := os.Stat(zookeeperJar); err != nil {
		return fmt.Errorf("%w (hint: conformance/bench/install-peers.sh)", err)
	}
	z.version = packageVersion(ctx, "zookeeper")
	port, err := proc.FreePorts(9)
	if err != nil {
		return err
	}
	for i := range 3 {
		name := fmt.Sprintf("zookeeper%d", i+1)
		dir := filepath.Join(s.dir, name)
		config := fmt.Sprintf(zookeeperConfig, filepath.Join(dir, "data"), port+i,
			port+3, port+6, port+4, port+7, port+5, port+8)
		err := errors.Join(os.MkdirAll(filepath.Join(dir, "data"), 0o700),
			os.WriteFile(filepath.Join(dir, "data", "myid"), fmt.Appendln(nil, i+1), 0o600),
			os.WriteFile(filepath.Join(dir, "zoo.cfg"), []byte(config), 0o600),
			os.WriteFile(filepath.Join(dir, "log4j.properties"), []byte(zookeeperLog), 0o600))
		if err != nil {
			return err
		}
		_, err = s.group.Start(proc.Command{
			Name: name, Path: "java", LogFile: filepath.Join(s.dir, name+".log"),
			Args: []string{"-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-cp",
				dir + ":" + zookeeperJar + ":/usr/share/java/slf4j-log4j12.jar:/usr/share/java/log4j-1.2.jar",
				"org.apache.zookeeper.server.quorum.QuorumPeerMain", filepath.Join(dir, "zoo.cfg")},
		})
		if err != nil {
			return err
		}
		z.servers = append(z.servers, proc.Address(port+i))
	}
	return z.warmUp(ctx, s)
}

// packageVersion is what the package's manager says, without the distribution's own part.
func packageVersion(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", name).Output()
	if err != nil {
		return ""
	}
	version, _, _ := strings.Cut(string(out), "-")
	if _, after, found := strings.Cut(version, ":"); found {
		version = after
	}
	return version
}

// warmUp runs the recipe for a while before anything counts, as the compiler of Java needs it.
func (z *zookeeper) warmUp(ctx context.Context, s *servers) error {
	const callers = 64
	acquire, closeAll, err := z.connect(ctx, callers, false, "bench-warm")
	if err != nil {
		return err
	}
	defer closeAll()
	d := time.Duration(float64(15*time.Second) * s.Scale)
	r := load.Run(ctx, callers, 0, max(d, 5*time.Second), func(ctx context.Context, caller int) (time.Duration, error) {
		unlock, err := acquire(ctx, caller)
		if err != nil {
			return 0, err
		}
		return 0, unlock(ctx)
	})
	if r.Rounds == 0 {
		return errors.Join(errors.New("nothing could be locked"), r.Err)
	}
	return nil
}

// quiet keeps the client's words off the terminal.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func (z *zookeeper) connect(ctx context.Context, callers int, one bool, prefix string) (lock, func(), error) {
	n := shared(callers)
	if one {
		n = callers
	}
	conns := make([]*zk.Conn, n)
	closeAll := func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}
	for i := range conns {
		c, events, err := zk.Connect(z.servers, ttl*time.Second, zk.WithLogger(quiet{}), zk.WithLogInfo(false))
		if err != nil {
			return nil, closeAll, err
		}
		conns[i] = c
		if err := waitSession(ctx, events); err != nil {
			return nil, closeAll, err
		}
	}
	locks := make([]*zk.Lock, callers)
	for i := range locks {
		locks[i] = zk.NewLock(conns[i%n], "/"+lockName(prefix, i, one), zk.WorldACL(zk.PermAll))
	}
	// The recipe knows no context: what waits when the time is up gets its turn and ends.
	return func(_ context.Context, caller int) (func(context.Context) error, error) {
		if err := locks[caller].Lock(); err != nil {
			return nil, err
		}
		return func(context.Context) error { return locks[caller].Unlock() }, nil
	}, closeAll, nil
}

func waitSession(ctx context.Context, events <-chan zk.Event) error {
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
