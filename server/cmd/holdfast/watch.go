package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

func newWatchCommand(a *app) *cobra.Command {
	var cursor string
	var count int
	cmd := &cobra.Command{
		Use:   "watch [PREFIX]",
		Short: "Follow what happens to locks, at and below a prefix",
		Long: `Follow what happens to the locks at and below a prefix, one line for each event,
until Ctrl-C. If the connection breaks it goes on where it stopped, at another node
if need be, and misses nothing. With --output json each line is one event with its
cursor; --cursor goes on after it, in another run. If that place is no longer kept
the command fails with COMPACTED.`,
		Example: `  holdfast watch
  holdfast watch orders --output json | jq -r 'select(.kind=="LOCK_EVENT_KIND_GRANTED").token'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &holdfastv1.WatchLocksRequest{Namespace: a.namespace, Cursor: cursor}
			if len(args) == 1 {
				request.Prefix = strings.TrimSuffix(args[0], "/")
			}
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			err := a.watch(ctx, request, count)
			if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
				return nil // Ctrl-C is how a watch ends
			}
			return err
		},
	}
	cmd.Flags().StringVar(&cursor, "cursor", "", "go on after the event that had this cursor")
	cmd.Flags().IntVar(&count, "count", 0, "stop after so many events (default: at Ctrl-C)")
	return cmd
}

// watch follows the stream through as many connections as it takes. The time-out counts from the
// last message on, so that it means the same as for other calls: how long to try.
func (a *app) watch(ctx context.Context, request *holdfastv1.WatchLocksRequest, count int) error {
	s, err := a.connectTo()
	if err != nil {
		return err
	}
	defer s.close()
	giveUp := time.Now().Add(a.timeout)
	seen := 0
	for {
		for _, n := range s.nodes {
			before := request.GetCursor()
			err := a.watchNode(ctx, n, request, func() bool { seen++; return count > 0 && seen >= count })
			if err == nil || ctx.Err() != nil {
				return err
			}
			if !mayRetry(err, true) {
				return err
			}
			if request.GetCursor() != before {
				giveUp = time.Now().Add(a.timeout)
			}
			if time.Now().After(giveUp) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryPause):
		}
	}
}

// watchNode prints the events of one stream; nil means that enough were seen. The request's cursor
// follows what was printed.
func (a *app) watchNode(ctx context.Context, n *node, request *holdfastv1.WatchLocksRequest, enough func() bool) error {
	stream, err := n.locks.WatchLocks(ctx, request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		event := stream.Msg()
		if event.GetKind() == holdfastv1.LockEventKind_LOCK_EVENT_KIND_PROGRESS {
			if request.GetCursor() == "" {
				fmt.Fprintf(a.stderr, "watching %s\n", orAll(request.GetPrefix()))
			}
			request.Cursor = event.GetCursor()
			continue
		}
		if err := a.printEvent(event); err != nil {
			return err
		}
		request.Cursor = event.GetCursor()
		if enough() {
			return nil
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return failure(exitUnavailable, "", "the stream ended")
}

func orAll(prefix string) string {
	if prefix == "" {
		return "all locks"
	}
	return printable(prefix)
}

// printEvent writes one event on one line: what happened, to what, by whom, and what else is known.
func (a *app) printEvent(e *holdfastv1.WatchLocksResponse) error {
	if a.format == outputJSON {
		return printJSON(a.stdout, e)
	}
	what := enumWords(e.GetKind().String(), "LOCK_EVENT_KIND_")
	parts := []string{fmt.Sprintf("%d.%d", e.GetStamp().GetIndex(), e.GetStamp().GetOffset()),
		fmt.Sprintf("%-9s", what), claimsText(e.GetClaims())}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+printable(value))
		}
	}
	add("owner", ownerName(e.GetSessionId(), e.GetOwner()))
	add("grant", tokenText(e.GetGrantId()))
	add("token", tokenText(e.GetToken()))
	if o := e.GetOutcome(); o != holdfastv1.Outcome_OUTCOME_UNSPECIFIED {
		add("outcome", strings.ReplaceAll(outcomeWords(o), " ", "_"))
	}
	if r := e.GetEnded(); r != holdfastv1.EndReason_END_REASON_UNSPECIFIED {
		add("ended", strings.ReplaceAll(endWords(r), " ", "_"))
	}
	if e.GetCycle() != nil {
		add("cycle", cycleText(e.GetCycle()))
	}
	add("detail", e.GetDetail())
	_, err := fmt.Fprintln(a.stdout, strings.Join(parts, "  "))
	return err
}
