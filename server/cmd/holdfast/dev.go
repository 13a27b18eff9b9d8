package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/server/internal/dev"
)

// Times that `dev` allows its nodes.
const (
	devStartLimit = 30 * time.Second
	devStopLimit  = 15 * time.Second // more than a server drains
)

func newDevCommand(a *app) *cobra.Command {
	config := dev.Config{}
	var verbose bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster on this machine, to try things out",
		Long: `Run a durable cluster of 1, 3 or 5 real server processes on this machine until
Ctrl-C. The same command goes on later with the same data. Node i has the client port
P+100*(i-1), the peer port one above, and the admin port two above.

Kill any node (kill -9), and the others go on; it is started again after a second.
If dev itself is killed, so are the nodes (Linux). Everything listens on 127.0.0.1
only and there is no authentication.`,
		Example: `  holdfast dev
  holdfast dev --nodes 3 --dir /var/tmp/holdfast --client-port 7480`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verbose {
				config.Echo = a.stderr
			}
			return a.dev(cmd.Context(), config)
		},
	}
	cmd.Flags().IntVar(&config.Nodes, "nodes", 1, "number of nodes: 1, 3 or 5")
	cmd.Flags().StringVar(&config.Dir, "dir", "holdfast-data", "directory for the data and the logs of the nodes")
	cmd.Flags().IntVar(&config.ClientPort, "client-port", 7480, "client port of the first node")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show what the nodes log")
	return cmd
}

func (a *app) dev(ctx context.Context, config dev.Config) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	config.Binary = exe
	cluster, err := dev.New(config)
	if err != nil {
		return usageError("holdfast dev --help", "%v", err)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		<-signals
		stop()
	}()

	starting, cancel := context.WithTimeout(ctx, devStartLimit)
	defer cancel()
	if err := cluster.Start(starting); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return failure(exitFailed, "choose other ports with --client-port, or another --dir", "%v", err)
	}
	a.sayWhatToTry(cluster, config)
	err = cluster.Supervise(ctx, func(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) })

	fmt.Fprintln(a.stderr, "stopping; press Ctrl-C again to kill")
	ending, kill := context.WithTimeout(context.Background(), devStopLimit)
	defer kill()
	go func() {
		<-signals
		kill()
	}()
	cluster.Stop(ending)
	if err != nil {
		return failure(exitFailed, "", "%v", err)
	}
	return nil
}

// sayWhatToTry goes to stdout: it is what the command is run for.
func (a *app) sayWhatToTry(cluster *dev.Cluster, config dev.Config) {
	var b strings.Builder
	first := cluster.Nodes[0]
	fmt.Fprintf(&b, "Holdfast runs: %d node(s), data and logs in %s\n\n", len(cluster.Nodes), config.Dir)
	t := newTable(&b, "NODE", "PID", "CLIENTS", "PEERS", "ADMIN")
	for _, n := range cluster.Nodes {
		t.row(n.Name, itoa(n.PID()), n.ClientURL, n.PeerAddr, n.AdminURL)
	}
	_ = t.flush() // into memory
	fmt.Fprintf(&b, `
Try in another terminal:
  export HOLDFAST_ENDPOINTS=%[1]s
  curl -s -H 'content-type: application/json' -d '{"name":"orders/42","wait":"5s"}' \
    %[2]s/holdfast.v1.LockService/Acquire
  %[3]s lock nightly-report -- sh -c 'echo token $HOLDFAST_TOKEN; sleep 5'
  %[3]s ls
  %[3]s watch
  curl -s %[4]s/metrics
`, strings.Join(cluster.Endpoints(), ","), first.ClientURL, os.Args[0], first.AdminURL)
	if len(cluster.Nodes) > 1 {
		fmt.Fprintf(&b, "  kill -9 %d        # the others go on; it comes back after a second\n", first.PID())
	}
	fmt.Fprintf(&b, "\nCtrl-C stops it; the same command goes on with the same data.\n")
	fmt.Fprint(a.stdout, b.String())
}
