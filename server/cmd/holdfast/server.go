package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
	"github.com/holdfast-dev/holdfast/server/internal/serve"
)

// serverFlags are what `holdfast server` is told.
type serverFlags struct {
	dir        string
	bootstrap  bool
	join       []string
	listen     string
	clientPort int
	advertise  string
	timing     string
	logFormat  string
	logLevel   slog.Level
	drain      time.Duration
}

func newServerCommand() *cobra.Command {
	f := serverFlags{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run one node of a cluster",
		Long: `Run one node. The first node of a cluster is started with --bootstrap, every other one
with --join and the peer address of a member. A node that has been started before
goes on where it was, whatever these two say.

A node listens on three ports: P for clients (Connect, gRPC and gRPC-Web), P+1 for
the other nodes, and P+2 for health (/healthz, /readyz), /metrics and profiles. There
is no TLS and no authentication yet: keep the ports in a network that you trust.

A node takes about 100 MiB of memory beyond what it holds, so that it rarely has to
collect garbage; GOGC and GOMEMLIMIT in the environment set another rule.

On SIGTERM or SIGINT it hands leadership over, ends the calls that wait with a word
to their callers, and stops. A second signal stops it at once.`,
		Example: `  holdfast server --dir /var/lib/holdfast --bootstrap
  holdfast server --dir /var/lib/holdfast --join 10.0.0.1:7481 --listen 0.0.0.0 --advertise 10.0.0.2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServer(cmd.Context(), f, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "data directory; the node's identity lives in it (required)")
	flags.BoolVar(&f.bootstrap, "bootstrap", false, "make a new cluster with this node as its first")
	flags.StringSliceVar(&f.join, "join", nil, "peer addresses (host:port) of members of the cluster to join")
	flags.StringVar(&f.listen, "listen", "127.0.0.1", "address to listen on")
	flags.IntVar(&f.clientPort, "client-port", 7480, "port for clients; the next two are for peers and administration")
	flags.StringVar(&f.advertise, "advertise", "", "host by which clients and nodes reach this one (default: --listen)")
	flags.StringVar(&f.timing, "timing", "lan", "lan: nodes within a few milliseconds of each other; wan: further apart")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.DurationVar(&f.drain, "drain", 10*time.Second, "how long to wait for calls that are under way when stopping")
	return cmd
}

// config turns flags into the configuration of a node.
func (f serverFlags) config(log io.Writer) (serve.Config, error) {
	config := serve.Config{
		Dir:       f.dir,
		Bootstrap: f.bootstrap,
		Join:      f.join,
		Version:   versionText(),
	}
	if f.clientPort < 1 || f.clientPort > 65533 {
		return config, usageError("", "--client-port %d: from 1 to 65533", f.clientPort)
	}
	at := func(offset int) string { return net.JoinHostPort(f.listen, strconv.Itoa(f.clientPort+offset)) }
	config.ClientAddr, config.PeerAddr, config.AdminAddr = at(0), at(1), at(2)
	if f.advertise != "" {
		host := net.JoinHostPort(f.advertise, "")
		config.AdvertiseClient = fmt.Sprintf("http://%s%d", host, f.clientPort)
		config.AdvertisePeer = fmt.Sprintf("%s%d", host, f.clientPort+1)
	}
	switch f.timing {
	case "lan":
		config.Timing = raftnode.LAN
	case "wan":
		config.Timing = raftnode.WAN
	default:
		return config, usageError("", "--timing %q: lan or wan", f.timing)
	}
	options := &slog.HandlerOptions{Level: f.logLevel}
	switch f.logFormat {
	case "text":
		config.Logger = slog.New(slog.NewTextHandler(log, options))
	case "json":
		config.Logger = slog.New(slog.NewJSONHandler(log, options))
	default:
		return config, usageError("", "--log-format %q: text or json", f.logFormat)
	}
	return config, nil
}

func runServer(ctx context.Context, f serverFlags, log io.Writer) error {
	if f.dir == "" {
		return usageError("holdfast server --dir DIR --bootstrap", "no data directory was given")
	}
	config, err := f.config(log)
	if err != nil {
		return err
	}
	roomForGarbage()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := serve.Start(ctx, config)
	if err != nil {
		return err
	}
	config.Logger.Info("the node has started", "version", config.Version, "node", server.NodeID(),
		"cluster", server.ClusterID(), "clients", server.ClientURL(), "peers", server.PeerAddr(),
		"admin", server.AdminURL())
	select {
	case <-server.Done():
		return server.Wait()
	case <-ctx.Done():
	}
	stop() // a second signal ends the process
	config.Logger.Info("the node is stopping")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(f.drain, time.Nanosecond))
	defer cancel()
	server.Stop(drain)
	err = server.Wait()
	config.Logger.Info("the node has stopped")
	return err
}
