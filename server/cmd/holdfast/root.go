package main

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// defaultEndpoint is where `holdfast dev` and `holdfast server` listen if told nothing else.
const defaultEndpoint = "http://127.0.0.1:7480"

// app is what the commands share: the global flags and the streams.
type app struct {
	endpoints []string
	format    outputFormat
	timeout   time.Duration
	namespace string

	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if isCobraUsage(err) {
		err = usageError(cmd.CommandPath()+" --help", "%s", firstLine(err.Error()))
	}
	return report(stderr, a.format, err)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "A distributed lock service with fencing tokens and leases",
		Long: `Holdfast is a distributed lock service. A program asks for a lock by name, gets it
with a fencing token and a lease, does its work and gives it back; if it dies, the
lease ends and the next in line is granted.`,
		Example: `  holdfast dev                                      # a server on this machine
  holdfast lock nightly-report -- ./report.sh       # run a command under a lock
  holdfast ls                                       # who holds what
  holdfast explain nightly-report                   # why does it wait`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringSliceVar(&a.endpoints, "endpoints", endpointsFromEnvironment(),
		"base URLs of the nodes, separated by commas (HOLDFAST_ENDPOINTS)")
	flags.VarP(&a.format, "output", "o", "output format: text or json")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second,
		"how long to try to reach the service")
	flags.StringVarP(&a.namespace, "namespace", "n", os.Getenv("HOLDFAST_NAMESPACE"),
		"namespace of names and sessions (HOLDFAST_NAMESPACE; default \"default\")")

	root.AddGroup(
		&cobra.Group{ID: "locks", Title: "Locks:"},
		&cobra.Group{ID: "look", Title: "Looking:"},
		&cobra.Group{ID: "operate", Title: "Operating:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("locks", newLockCommand(a), newAcquireCommand(a), newRenewCommand(a), newReleaseCommand(a))
	add("look", newListCommand(a), newGetCommand(a), newExplainCommand(a), newWatchCommand(a),
		newSessionsCommand(a))
	add("operate", newServerCommand(), newDevCommand(a), newClusterCommand(a), newRevokeCommand(a),
		newBenchCommand(a), newDebugCommand(a))
	root.AddCommand(newVersionCommand(a), &cobra.Command{
		Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp,
	})
	return root
}

// helpOnly makes a command that is only the head of others show its help, and refuse what is not
// one of them (cobra alone would show its help for that too, and call it a success).
func helpOnly(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

func endpointsFromEnvironment() []string {
	var found []string
	for e := range strings.SplitSeq(os.Getenv("HOLDFAST_ENDPOINTS"), ",") {
		if e = strings.TrimSpace(e); e != "" {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return []string{defaultEndpoint}
	}
	return found
}

// isCobraUsage reports whether an error is cobra's own complaint about the command line. Errors of
// the commands themselves are exitErrors or come from a call; cobra's are plain.
func isCobraUsage(err error) bool {
	for _, prefix := range []string{
		"unknown command", "unknown flag", "unknown shorthand", "flag needs an argument",
		"invalid argument", "accepts ", "requires at least", "requires at most", "required flag",
		"bad flag syntax", "if any flags in the group", "at least one of the flags",
	} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
