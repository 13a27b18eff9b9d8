package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// pageSize is how many locks or sessions one call brings; the most that a server gives (HF-12).
const pageSize = 1000

func newListCommand(a *app) *cobra.Command {
	var stale bool
	var limit int
	cmd := &cobra.Command{
		Use:     "ls [PREFIX]",
		Aliases: []string{"list"},
		Short:   "List locks, at and below a prefix",
		Long: `List the locks that are held, waited for or shut by a lock delay, in order of their
names. A prefix is made of whole segments: 'ls a/b' shows a/b and a/b/c, not a/bc.`,
		Example: `  holdfast ls
  holdfast ls orders --output json | jq -r '.locks[].name'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &holdfastv1.ListLocksRequest{Namespace: a.namespace, Stale: stale}
			if len(args) == 1 {
				request.Prefix = strings.TrimSuffix(args[0], "/")
			}
			return a.listLocks(cmd.Context(), request, limit)
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "answer at once from one node, which may lag")
	cmd.Flags().IntVar(&limit, "limit", 0, "most locks to list (default all)")
	return cmd
}

// listLocks goes through the pages. All pages together are one JSON object.
func (a *app) listLocks(ctx context.Context, request *holdfastv1.ListLocksRequest, limit int) error {
	all := &holdfastv1.ListLocksResponse{}
	for {
		request.PageSize = pageSize
		if left := limit - len(all.GetLocks()); limit > 0 && left < pageSize {
			request.PageSize = uint32(left)
		}
		page, err := callService(ctx, a, true,
			func(ctx context.Context, n *node) (*holdfastv1.ListLocksResponse, error) {
				return n.locks.ListLocks(ctx, request)
			})
		if err != nil {
			return err
		}
		all.Locks = append(all.Locks, page.GetLocks()...)
		all.Stamp, all.Cluster, all.NextPageToken = page.GetStamp(), page.GetCluster(), page.GetNextPageToken()
		request.PageToken = page.GetNextPageToken()
		if request.PageToken == "" || limit > 0 && len(all.GetLocks()) >= limit {
			break
		}
	}
	if a.format == outputJSON {
		return printJSON(a.stdout, all)
	}
	if len(all.GetLocks()) == 0 {
		fmt.Fprintln(a.stderr, "no locks")
		return nil
	}
	t := newTable(a.stdout, "NAME", "MODE", "HOLDERS", "WAITING", "TOKEN", "AGE", "HOLDER")
	for _, l := range all.GetLocks() {
		t.row(lockRow(l)...)
	}
	return t.flush()
}

// lockRow sums a lock up by its first holder that asked for it by name, else by its first.
func lockRow(l *holdfastv1.Lock) []string {
	row := []string{l.GetName(), "", fmt.Sprint(l.GetHoldersTotal()), fmt.Sprint(l.GetWaitersTotal()), "", "", ""}
	if len(l.GetHolders()) == 0 {
		if len(l.GetGhosts()) > 0 {
			row[6] = "(lock delay)"
		}
		return row
	}
	first := l.GetHolders()[0]
	for _, h := range l.GetHolders() {
		if !h.GetImplied() {
			first = h
			break
		}
	}
	row[1] = modeName(first.GetMode())
	row[4] = tokenText(first.GetGrant().GetToken())
	row[5] = durationText(first.GetAge())
	row[6] = whoText(first.GetSessionId(), first.GetOwner(), first.GetMetadata(), first.GetSessionMetadata())
	return row
}

// whoText names an owner and what it says of itself.
func whoText(session uint64, owner string, metadata ...string) string {
	who := ownerName(session, owner)
	for _, m := range metadata {
		if m != "" {
			return who + " " + m
		}
	}
	return who
}

func newGetCommand(a *app) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:     "get NAME",
		Short:   "Show one lock: holders, queue, lock delays",
		Example: `  holdfast get orders/42`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &holdfastv1.GetLockRequest{Name: args[0], Namespace: a.namespace, Stale: stale}
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.GetLockResponse, error) {
					return n.locks.GetLock(ctx, request)
				})
			if err != nil {
				return err
			}
			if a.format == outputJSON {
				return printJSON(a.stdout, res)
			}
			return printLock(a.stdout, res.GetLock())
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "answer at once from one node, which may lag")
	return cmd
}

func printLock(w io.Writer, l *holdfastv1.Lock) error {
	fmt.Fprintf(w, "%s: %d holding, %d waiting\n", printable(l.GetName()), l.GetHoldersTotal(), l.GetWaitersTotal())
	if len(l.GetHolders()) > 0 {
		fmt.Fprintln(w)
		t := newTable(w, "HELD BY", "MODE", "GRANT", "TOKEN", "DEPTH", "AGE", "EXPIRES IN", "WHO")
		for _, h := range l.GetHolders() {
			mode := modeName(h.GetMode())
			if h.GetImplied() {
				mode += " (implied)"
			}
			g := h.GetGrant()
			t.row(ownerName(h.GetSessionId(), h.GetOwner()), mode, tokenText(g.GetId()), tokenText(g.GetToken()),
				fmt.Sprint(g.GetDepth()), durationText(h.GetAge()), durationText(g.GetExpiresIn()),
				whoText(0, "", h.GetMetadata(), h.GetSessionMetadata()))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(l.GetWaiters()) > 0 {
		fmt.Fprintln(w)
		t := newTable(w, "WAITING", "MODE", "POSITION", "PRIORITY", "REQUEST", "AGE", "GIVES UP IN", "FOR", "WHO")
		for _, r := range l.GetWaiters() {
			t.row(ownerName(r.GetSessionId(), r.GetOwner()), modeName(r.GetMode()), fmt.Sprint(r.GetPosition()),
				fmt.Sprint(r.GetPriority()), fmt.Sprint(r.GetRequestId()), durationText(r.GetAge()),
				durationText(r.GetWaitLeft()), claimsText(r.GetClaims()), r.GetMetadata())
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	for _, g := range l.GetGhosts() {
		fmt.Fprintf(w, "\nshut (%s) for %s more: grant %d ended uncleanly with a lock delay\n",
			modeName(g.GetMode()), durationText(g.GetExpiresIn()), g.GetGrantId())
	}
	return nil
}

func newExplainCommand(a *app) *cobra.Command {
	request := &holdfastv1.ExplainWaitRequest{}
	cmd := &cobra.Command{
		Use:   "explain NAME | explain --session S --request R",
		Short: "Tell why a request waits: the chain of those in its way",
		Long: `Tell why a request waits: those in its way, those in their way, and so on, with how
long each has held or waited and whether its session is being renewed. With a name,
the last waiter in that lock's queue is explained.`,
		Example: `  holdfast explain orders/42
  holdfast explain --session 7 --request 3`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			byRequest := request.GetSessionId() != 0 || request.GetRequestId() != 0
			if byRequest == (len(args) == 1) {
				return usageError("holdfast explain orders/42", "give either a NAME or --session and --request")
			}
			if len(args) == 1 {
				request.Name, request.Namespace = args[0], a.namespace
			}
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.ExplainWaitResponse, error) {
					return n.locks.ExplainWait(ctx, request)
				})
			if err != nil {
				return err
			}
			if a.format == outputJSON {
				return printJSON(a.stdout, res)
			}
			return a.printExplanation(res)
		},
	}
	cmd.Flags().Uint64Var(&request.SessionId, "session", 0, "session of the waiting request")
	cmd.Flags().Uint64Var(&request.RequestId, "request", 0, "request id of the waiting request")
	cmd.Flags().BoolVar(&request.Stale, "stale", false, "answer at once from one node, which may lag")
	cmd.MarkFlagsRequiredTogether("session", "request")
	return cmd
}

// printExplanation draws the chain, each step set in by its distance.
func (a *app) printExplanation(res *holdfastv1.ExplainWaitResponse) error {
	if !res.GetWaiting() {
		fmt.Fprintln(a.stdout, "nobody waits")
		return nil
	}
	r := res.GetWaiter()
	fmt.Fprintf(a.stdout, "%s has waited %s for %s, position %d\n",
		ownerName(r.GetSessionId(), printable(r.GetOwner())), durationText(r.GetAge()),
		claimsText(r.GetClaims()), r.GetPosition())
	for _, s := range res.GetSteps() {
		fmt.Fprintf(a.stdout, "%s%s, for %s%s\n", strings.Repeat("  ", int(s.GetDistance())),
			blockerText(s.GetBlocker()), durationText(s.GetAge()), sessionHealth(s))
	}
	return nil
}

func sessionHealth(s *holdfastv1.WaitStep) string {
	var parts []string
	if m := s.GetSessionMetadata(); m != "" {
		parts = append(parts, printable(m))
	}
	if s.GetSessionAtRisk() {
		parts = append(parts, fmt.Sprintf("session not renewed, ends in %s", durationText(s.GetSessionExpiresIn())))
	}
	if len(parts) == 0 {
		return ""
	}
	return " [" + strings.Join(parts, "; ") + "]"
}

func newSessionsCommand(a *app) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "List sessions",
		Example: `  holdfast sessions`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listSessions(cmd.Context(),
				&holdfastv1.ListSessionsRequest{Namespace: a.namespace, PageSize: pageSize, Stale: stale})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, "answer at once from one node, which may lag")
	return cmd
}

func (a *app) listSessions(ctx context.Context, request *holdfastv1.ListSessionsRequest) error {
	all := &holdfastv1.ListSessionsResponse{}
	for {
		page, err := callService(ctx, a, true,
			func(ctx context.Context, n *node) (*holdfastv1.ListSessionsResponse, error) {
				return n.sessions.ListSessions(ctx, request)
			})
		if err != nil {
			return err
		}
		all.Sessions = append(all.Sessions, page.GetSessions()...)
		all.Stamp, all.Cluster = page.GetStamp(), page.GetCluster()
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	if a.format == outputJSON {
		return printJSON(a.stdout, all)
	}
	if len(all.GetSessions()) == 0 {
		fmt.Fprintln(a.stderr, "no sessions")
		return nil
	}
	t := newTable(a.stdout, "SESSION", "GRANTS", "WAITING", "TTL", "EXPIRES IN", "AGE", "WHO")
	for _, s := range all.GetSessions() {
		who := s.GetMetadata()
		if s.GetImplicit() {
			who = strings.TrimSpace("(ends with its grant) " + who)
		}
		t.row(ownerName(s.GetSessionId(), ""), fmt.Sprint(s.GetGrants()), fmt.Sprint(s.GetWaiting()),
			durationText(s.GetTtl()), durationText(s.GetExpiresIn()), durationText(s.GetAge()), who)
	}
	return t.flush()
}
