package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/server/internal/loadgen"
)

// benchScenario is a subcommand of bench. It has the flags that its load has a use for.
type benchScenario struct {
	scenario loadgen.Scenario
	aliases  []string
	short    string
	long     string
	example  string
	flags    []string
}

var benchScenarios = []benchScenario{
	{
		scenario: loadgen.Uncontended, short: "Every worker has a lock of its own",
		long: `Every worker acquires a lock of its own and releases it, again and again. This is
what bench does if it is told no scenario.`,
		example: `  holdfast bench uncontended --clients 50 --outstanding 128 --duration 60s
  holdfast bench uncontended --clients 50 --rate 100000 --duration 60s`,
		flags: []string{"rate", "depth"},
	},
	{
		scenario: loadgen.Hot, aliases: []string{"contended"}, short: "All workers queue for one lock, or a few",
		long: `All workers queue for --locks names; each grant is a hand-off from one to the next.
On --watch of the names the order is checked exactly: the service tells every arrival
and every grant as it happened, and the grants must come in the order of arrival.`,
		example: `  holdfast bench hot --clients 64
  holdfast bench hot --clients 50 --outstanding 200 --duration 30s   # 10,000 wait for one name`,
		flags: []string{"rate", "locks", "watch"},
	},
	{
		scenario: loadgen.ManyHot, short: "Ten waiters for each of a thousand locks",
		long:  "The same as hot, with many names, and some workers waiting for each.",
		flags: []string{"rate", "locks", "watch"}, example: `  holdfast bench many-hot --duration 30s`,
	},
	{
		scenario: loadgen.One, short: "One client with one operation at a time",
		long:  "One worker alone: what an acquire costs when nobody else is there to share with.",
		flags: []string{"rate", "depth"}, example: `  holdfast bench one --output json`,
	},
	{
		scenario: loadgen.Unary, short: "One call per operation, without the SDK",
		long: `Every operation is a call of its own, as a program without the SDK makes them, each
worker in a session of its own. The SDK is not used, since it puts operations that
come together into one call: these are the generated clients of the contract.`,
		example: `  holdfast bench unary --protocol json       # Connect with JSON over HTTP/1.1
  holdfast bench unary --protocol connect    # Connect with protobuf over HTTP/1.1
  holdfast bench unary --protocol grpc       # gRPC over HTTP/2`,
		flags: []string{"rate", "depth", "protocol", "http"},
	},
	{
		scenario: loadgen.Sessions, short: "Ten thousand sessions with one operation each",
		long: `Many clients, each with a session, connections and one worker of its own; or, with
--idle, sessions that are only kept alive. A client by itself has up to four
connections: for renewals, for streams, for batches. With --connections they share so
many sets of them, as clients do behind a proxy; batches that are under way at the
same time still have a connection each. ulimit -n must allow them all.`,
		example: `  holdfast bench sessions --clients 1000
  holdfast bench sessions --clients 10000 --connections 100 --duration 30s
  holdfast bench sessions --clients 10000 --connections 100 --idle --duration 60s`,
		flags: []string{"rate", "idle"},
	},
	{
		scenario: loadgen.Hold, short: "Hold a million locks, and nothing else",
		long: `Acquire --locks locks in --clients sessions and keep them for --duration, or until
INT or TERM, so that something else can be measured meanwhile. A line tells when all
are held. In the end they are given back, or with --at-end abandon left behind: their
sessions then expire together, a --ttl later.`,
		example: `  holdfast bench hold --locks 1000000 --clients 10000 --connections 100
  holdfast bench hold --locks 1000000 --clients 10000 --at-end abandon --ttl 30s --duration 1m`,
		flags: []string{"locks", "depth", "at-end"},
	},
	{
		scenario: loadgen.Deadlock, short: "Cycles of waiting owners",
		long: `Owners close cycles of --shortest to --longest again and again, each holding a lock
and waiting for the next one's. Of every cycle exactly one owner must be told that it
is the victim, and all others must get what they wait for.`,
		example: `  holdfast bench deadlock --owners 1000 --shortest 2 --longest 32`,
		flags:   []string{"owners"},
	},
	{
		scenario: loadgen.Depth, short: "Names of one to eight levels",
		long:  "The same as uncontended, an eighth of the time for names of each depth.",
		flags: []string{"rate"}, example: `  holdfast bench depth --duration 40s --output json`,
	},
	{
		scenario: loadgen.Failover, short: "Every gap in service is noted",
		long: `The same as uncontended, with a count of completed operations for every 10 ms, and
every gap of 50 ms and more in which none completed. Kill nodes meanwhile: the gaps
are what clients see of it.`,
		example: `  holdfast bench failover --clients 50 --rate 100000 --duration 60s --output json`,
		flags:   []string{"rate", "depth"},
	},
}

const benchLong = `Make load and measure how it is borne, through the Go SDK, as programs do. Each client
has a session of its own and so many workers, each of which acquires a lock, releases
it, and begins again.

Without --rate the loop is closed: the next operation begins when the one before has
ended, so that a slow answer delays the questions after it. This finds out how much
the service can do. With --rate the loop is open: arrivals are planned beforehand, and
latencies count from the planned start, whether or not a worker was free by then. This
finds out how long operations take at that rate; if it cannot be kept, the result says
that it is saturated. A rate counts acquires and releases.

Everything is checked meanwhile: the tokens of a name must rise, no name may have two
holders, and nothing may be held in the end. The exit code is 1 if that does not hold.
Ctrl-C ends the measurement, and what was measured until then is shown.`

func newBenchCommand(a *app) *cobra.Command {
	cmd := a.benchCommand(benchScenarios[0])
	cmd.Use, cmd.Short, cmd.Long = "bench", "Make load and measure it", benchLong
	cmd.Example = `  holdfast bench --clients 10 --outstanding 100 --duration 10s
  holdfast bench --clients 50 --rate 100000 --output json
  holdfast bench hot --clients 64`
	for _, s := range benchScenarios {
		cmd.AddCommand(a.benchCommand(s))
	}
	return cmd
}

func (a *app) benchCommand(s benchScenario) *cobra.Command {
	c := loadgen.Default(s.scenario)
	cmd := &cobra.Command{
		Use: string(s.scenario), Aliases: s.aliases, Short: s.short, Long: s.long, Example: s.example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.Check(); err != nil {
				return usageError(cmd.CommandPath()+" --help", "%v", err)
			}
			roomForGarbage()
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			return a.bench(ctx, c)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&c.Clients, "clients", c.Clients, "number of clients, each with a session of its own")
	if s.scenario != loadgen.Deadlock {
		flags.IntVar(&c.Outstanding, "outstanding", c.Outstanding, "workers of each client; with --rate, at most so many")
	}
	flags.DurationVar(&c.Duration, "duration", c.Duration, "how long to measure")
	if s.scenario != loadgen.Hold {
		flags.DurationVar(&c.WarmUp, "warm-up", c.WarmUp, "how long to run before measuring")
	}
	flags.StringVar(&c.Prefix, "prefix", c.Prefix, "what the names of the locks begin with; the rest is new each time")
	flags.DurationVar(&c.TTL, "ttl", c.TTL, "ttl of the sessions")
	if s.scenario != loadgen.Unary {
		flags.IntVar(&c.Connections, "connections", 0, "sets of connections that the clients share (0: each has its own)")
	}
	for _, name := range s.flags {
		benchFlags[name](cmd, &c)
	}
	return cmd
}

// benchFlags are those that only some scenarios have.
var benchFlags = map[string]func(*cobra.Command, *loadgen.Config){
	"rate": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().Float64Var(&c.Rate, "rate", 0, "operations per second to begin, in an open loop (0: a closed loop)")
		outstanding := cmd.Flags().Lookup("outstanding")
		before := cmd.PreRunE
		cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
			if c.Rate > 0 && !outstanding.Changed {
				c.Outstanding = max(c.Outstanding, loadgen.OpenOutstanding)
			}
			if before == nil {
				return nil
			}
			return before(cmd, args)
		}
	},
	"depth": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().IntVar(&c.Depth, "depth", c.Depth, "levels of the names, 1 to 8")
	},
	"locks": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().IntVar(&c.Locks, "locks", c.Locks, "number of locks")
	},
	"watch": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().IntVar(&c.Watch, "watch", c.Watch, "on how many of them the order of grants is checked")
	},
	"protocol": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().StringVar(&c.Protocol, "protocol", c.Protocol, "json, connect or grpc")
	},
	"http": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().IntVar(&c.HTTP, "http", 0, "version of HTTP: 1 or 2 (default 1, with gRPC 2)")
		cmd.Flags().Lookup("http").DefValue = ""
	},
	"idle": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().BoolVar(&c.Idle, "idle", false, "only keep the sessions alive")
	},
	"at-end": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().StringVar(&c.AtEnd, "at-end", c.AtEnd, "what becomes of the locks: release or abandon")
		cmd.Flags().Lookup("duration").Usage = "how long to hold them (0: until INT or TERM)"
	},
	"owners": func(cmd *cobra.Command, c *loadgen.Config) {
		cmd.Flags().IntVar(&c.Owners, "owners", c.Owners, "number of owners in all cycles")
		cmd.Flags().IntVar(&c.Shortest, "shortest", c.Shortest, "owners of the shortest cycle")
		cmd.Flags().IntVar(&c.Longest, "longest", c.Longest, "owners of the longest cycle")
	},
}

func (a *app) bench(ctx context.Context, c loadgen.Config) error {
	c.Endpoints, c.Namespace = a.endpoints, a.namespace
	c.Connect = func(opts ...holdfast.Option) (*holdfast.Client, error) {
		return a.connectSDK(ctx, append(opts, holdfast.WithClientMetadata(processMetadata("bench")))...)
	}
	c.Ready = func(r loadgen.Ready) { a.benchReady(c, r) }
	tty := isTerminal(a.stderr)
	if tty {
		c.Progress = func(s loadgen.Second) { fmt.Fprintf(a.stderr, "\r\x1b[K%s", benchProgress(c, s)) }
	}
	r, err := loadgen.Run(ctx, c)
	if tty {
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	if err := a.printBench(r); err != nil {
		return err
	}
	switch {
	case r.Checks.Violations > 0:
		return failure(exitFailed, "this must not happen: please report it, with what the nodes logged",
			"%d checks failed: %s", r.Checks.Violations, r.Checks.Examples[0])
	case r.Operations == 0 && r.FirstErr() != nil:
		return r.FirstErr()
	}
	return nil
}

// benchReady says that the load begins. Where something is to be done meanwhile, machines are told.
func (a *app) benchReady(c loadgen.Config, ready loadgen.Ready) {
	if a.format == outputJSON {
		if c.Scenario == loadgen.Hold || c.Scenario == loadgen.Sessions {
			_ = json.NewEncoder(a.stdout).Encode(ready) // the report fails the same way
		}
		return
	}
	if ready.Event == "held" {
		fmt.Fprintf(a.stderr, "%d locks are held in %s, after %.1f s\n", ready.Locks, count(ready.Sessions, "session"), ready.FillSeconds)
		return
	}
	load := fmt.Sprintf("%s with %s each", count(c.Clients, "client"), count(c.Outstanding, "worker"))
	switch {
	case c.Idle:
		load = count(c.Clients, "session")
	case c.Scenario == loadgen.Deadlock:
		load = fmt.Sprintf("%d owners in %s", c.Owners, count(c.Clients, "client"))
	case c.Rate > 0:
		load = fmt.Sprintf("%.0f operations/s from %s", c.Rate, count(c.Clients, "client"))
	}
	fmt.Fprintf(a.stderr, "%s: %s, for %s\n", c.Scenario, load, c.Duration)
}

func benchProgress(c loadgen.Config, s loadgen.Second) string {
	line := fmt.Sprintf("%d of %.0f s  %d operations/s  acquire p50 %s  p99 %s", s.Second, c.Duration.Seconds(),
		s.Acquires+s.Releases, micros(s.AcquireP50), micros(s.AcquireP99))
	if s.Errors > 0 {
		line += fmt.Sprintf("  %d failed", s.Errors)
	}
	return line
}

// count is a number of things, in words: 1 client, 2 clients.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

func micros(us int64) string { return roundDuration(time.Duration(us) * time.Microsecond) }
