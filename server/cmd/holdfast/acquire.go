package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

func itoa(i int) string { return strconv.Itoa(i) }

// acquireFlags are the flags that say how a lock is acquired; `acquire` and `lock` share them.
type acquireFlags struct {
	wait      time.Duration
	ttl       time.Duration
	shared    bool
	mode      string
	lease     time.Duration
	maxHold   time.Duration
	lockDelay time.Duration
	priority  int32
	metadata  string
}

func (f *acquireFlags) register(cmd *cobra.Command, wait string) {
	flags := cmd.Flags()
	flags.DurationVarP(&f.wait, "wait", "w", f.wait, wait)
	flags.DurationVar(&f.ttl, "ttl", f.ttl, "how long the lock outlives its client, 1s to 24h")
	flags.BoolVarP(&f.shared, "shared", "s", false, "hold it together with other shared holders")
	flags.StringVar(&f.mode, "mode", "X", "mode: X, S, IS, IX or SIX (--shared is --mode S)")
	flags.DurationVar(&f.lease, "lease", 0, "a lease of its own, 100ms to 30d, besides the ttl")
	flags.DurationVar(&f.maxHold, "max-hold", 0, "longest hold whatever is renewed, 100ms to 30d")
	flags.DurationVar(&f.lockDelay, "lock-delay", 0,
		"how long the name stays shut if the holder dies, up to 60s")
	flags.Int32Var(&f.priority, "priority", 0, "-100 to 100; higher goes first")
	flags.StringVar(&f.metadata, "metadata", "", "text shown to those who look (default who and where)")
	cmd.MarkFlagsMutuallyExclusive("shared", "mode")
}

func (f *acquireFlags) parsedMode() (holdfastv1.Mode, error) {
	if f.shared {
		return holdfastv1.Mode_MODE_SHARED, nil
	}
	for m := range holdfastv1.Mode_name {
		if mode := holdfastv1.Mode(m); m != 0 && strings.EqualFold(modeName(mode), f.mode) {
			return mode, nil
		}
	}
	return 0, usageError("modes are X (exclusive), S (shared), IS, IX and SIX", "mode %q is not one", f.mode)
}

func newAcquireCommand(a *app) *cobra.Command {
	f := &acquireFlags{ttl: 30 * time.Second}
	cmd := &cobra.Command{
		Use:   "acquire NAME...",
		Short: "Acquire a lock and leave it held",
		Long: `Acquire a lock and leave it held, without a session: it ends with 'release', or
when the ttl has passed without a 'renew'. Several names are acquired all at once
or not at all. For a command that runs under a lock use 'lock', which renews by
itself and stops the command when the lock is lost.

Prints the grant (which 'release' and 'renew' want) and the fencing token (which
the resource wants). Exit code 75 if the lock was not got in time.`,
		Example: `  holdfast acquire orders/42                       # try once
  holdfast acquire orders/42 --wait 5s --ttl 1m
  holdfast acquire orders/42 stock/7 --wait 5s     # both or neither
  grant=$(holdfast acquire orders/42 -o json | jq -r .grant.id)`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			mode, err := f.parsedMode()
			if err != nil {
				return err
			}
			request := f.request(a, names, mode)
			ctx, stop := untilInterrupted(cmd.Context())
			defer stop()
			return a.acquire(ctx, request)
		},
	}
	f.register(cmd, "how long to wait for it, up to 24h (default: try once)")
	return cmd
}

func (f *acquireFlags) request(a *app, names []string, mode holdfastv1.Mode) *holdfastv1.AcquireRequest {
	request := &holdfastv1.AcquireRequest{
		Wait: optionalDuration(f.wait), Ttl: optionalDuration(f.ttl), Priority: f.priority,
		Lease: optionalDuration(f.lease), MaxHold: optionalDuration(f.maxHold),
		LockDelay: optionalDuration(f.lockDelay), Metadata: f.metadata, Namespace: a.namespace,
	}
	if request.Metadata == "" {
		request.Metadata = processMetadata("acquire")
	}
	for _, name := range names {
		request.Claims = append(request.Claims, &holdfastv1.Claim{Name: name, Mode: mode})
	}
	return request
}

func optionalDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// acquire asks for the lock and prints what came of it.
func (a *app) acquire(ctx context.Context, request *holdfastv1.AcquireRequest) error {
	s, err := a.connectTo()
	if err != nil {
		return err
	}
	defer s.close()
	res, err := a.acquireOnce(ctx, s, request)
	if err != nil {
		return err
	}
	names := claimNames(request.GetClaims())
	if res.GetOutcome() != holdfastv1.Outcome_OUTCOME_GRANTED {
		return a.notGot(names, res)
	}
	if a.format == outputJSON {
		return printJSON(a.stdout, res)
	}
	g := res.GetGrant()
	fmt.Fprintf(a.stdout, "granted %s grant=%d token=%d expires_in=%s\n",
		claimsWords(g.GetClaims()), g.GetId(), g.GetToken(), durationText(g.GetExpiresIn()))
	return nil
}

// acquireOnce repeats one acquire, under one nonce, until it has its outcome. A node that loses
// the call's connection cancels the wait (HF-4.12); that is not what the user asked for, so the
// request is made anew.
func (a *app) acquireOnce(ctx context.Context, s *service, request *holdfastv1.AcquireRequest,
) (*holdfastv1.AcquireResponse, error) {
	wait := request.GetWait().AsDuration()
	until := time.Now().Add(wait)
	for {
		request.Nonce = nonce()
		res, err := call(ctx, s, a.timeout+wait, true,
			func(ctx context.Context, n *node) (*holdfastv1.AcquireResponse, error) {
				return n.locks.Acquire(ctx, request)
			})
		left := time.Until(until)
		if err != nil || res.GetOutcome() != holdfastv1.Outcome_OUTCOME_CANCELLED || left <= 0 {
			return res, err
		}
		request = proto.CloneOf(request)
		request.Wait = durationpb.New(left)
	}
}

// notGot prints who is in the way and returns the error that leaves with 75.
func (a *app) notGot(names string, res *holdfastv1.AcquireResponse) error {
	if a.format == outputJSON {
		if err := printJSON(a.stdout, res); err != nil {
			return err
		}
		return exitWith(exitNotGot)
	}
	message := fmt.Sprintf("%s: %s", names, outcomeWords(res.GetOutcome()))
	if d := res.GetDetail(); d != "" {
		message += " (" + d + ")"
	}
	for _, b := range res.GetBlockers() {
		fmt.Fprintf(a.stderr, "  %s\n", blockerText(b))
	}
	if more := int(res.GetBlockersTotal()) - len(res.GetBlockers()); more > 0 {
		fmt.Fprintf(a.stderr, "  and %d more\n", more)
	}
	if c := res.GetCycle(); c != nil {
		fmt.Fprintf(a.stderr, "  %s\n", cycleText(c))
	}
	hint := "raise --wait, or see who holds it: holdfast get " + names
	if res.GetOutcome() == holdfastv1.Outcome_OUTCOME_DEADLOCK_VICTIM {
		hint = "release what you hold, and try again"
	}
	return failure(exitNotGot, hint, "%s", message)
}

func claimNames(claims []*holdfastv1.Claim) string {
	names := make([]string, len(claims))
	for i, c := range claims {
		names[i] = c.GetName()
	}
	return strings.Join(names, " ")
}

// claimsWords lists names, each with its mode where that is not the usual one.
func claimsWords(claims []*holdfastv1.Claim) string {
	parts := make([]string, len(claims))
	for i, c := range claims {
		parts[i] = printable(c.GetName())
		if m := modeName(c.GetMode()); m != "X" {
			parts[i] += "(" + m + ")"
		}
	}
	return strings.Join(parts, " ")
}

func newRenewCommand(a *app) *cobra.Command {
	var session uint64
	cmd := &cobra.Command{
		Use:   "renew GRANT",
		Short: "Renew a grant, so that it lives for another ttl",
		Long: `Renew a grant by its id: the ttl of what was acquired with 'acquire' begins anew,
and so does its lease if it has one. Prints how long it may be relied on.`,
		Example: `  holdfast renew 281474976710657`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			grant, err := parseGrant(args[0])
			if err != nil {
				return err
			}
			request := &holdfastv1.RenewRequest{GrantId: grant, SessionId: session}
			if session == 0 {
				request.RequestId = requestID()
			}
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.RenewResponse, error) {
					return n.locks.Renew(ctx, request)
				})
			if err != nil {
				return err
			}
			if a.format == outputJSON {
				return printJSON(a.stdout, res)
			}
			fmt.Fprintf(a.stdout, "renewed grant=%d token=%d expires_in=%s\n", res.GetGrant().GetId(),
				res.GetGrant().GetToken(), durationText(res.GetGrant().GetExpiresIn()))
			return nil
		},
	}
	cmd.Flags().Uint64Var(&session, "session", 0, "session that holds it, if the acquire named one")
	return cmd
}

func newReleaseCommand(a *app) *cobra.Command {
	var session uint64
	cmd := &cobra.Command{
		Use:   "release GRANT",
		Short: "Release a grant",
		Long: `Release a grant by its id, as 'acquire' printed it. Releasing what is not held (any
more) fails and changes nothing, whoever holds the lock now. To end what somebody
else holds, use 'revoke'.`,
		Example: `  holdfast release 281474976710657`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			grant, err := parseGrant(args[0])
			if err != nil {
				return err
			}
			request := &holdfastv1.ReleaseRequest{GrantId: grant, SessionId: session}
			if session == 0 {
				request.RequestId = requestID()
			}
			res, err := callService(cmd.Context(), a, session == 0,
				func(ctx context.Context, n *node) (*holdfastv1.ReleaseResponse, error) {
					return n.locks.Release(ctx, request)
				})
			if err != nil {
				return err
			}
			if a.format == outputJSON {
				return printJSON(a.stdout, res)
			}
			if res.GetDepth() > 0 {
				fmt.Fprintf(a.stdout, "released grant=%d, held %d times more\n", grant, res.GetDepth())
				return nil
			}
			fmt.Fprintf(a.stdout, "released grant=%d\n", grant)
			return nil
		},
	}
	cmd.Flags().Uint64Var(&session, "session", 0, "session that holds it, if the acquire named one")
	return cmd
}

// callService makes one call within the --timeout.
func callService[Res any](ctx context.Context, a *app, repeatable bool,
	do func(context.Context, *node) (Res, error),
) (Res, error) {
	var zero Res
	s, err := a.connectTo()
	if err != nil {
		return zero, err
	}
	defer s.close()
	ctx, stop := untilInterrupted(ctx)
	defer stop()
	return call(ctx, s, a.timeout, repeatable, do)
}

func parseGrant(s string) (int64, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 10, 64)
	if err != nil || id == 0 || id > math.MaxInt64 {
		return 0, usageError("grant ids are numbers; 'holdfast get NAME' shows them", "grant %q is not a number", s)
	}
	return int64(id), nil
}

func parseSession(s string) (uint64, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(s, "s"), 10, 64)
	if err != nil || id == 0 {
		return 0, usageError("session ids are numbers; 'holdfast sessions' shows them", "session %q is not a number", s)
	}
	return id, nil
}
