package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// done prints the answer: as JSON, or in the words given.
func (a *app) done(res proto.Message, format string, args ...any) error {
	if a.format == outputJSON {
		return printJSON(a.stdout, res)
	}
	_, err := fmt.Fprintf(a.stdout, format+"\n", args...)
	return err
}

func newRevokeCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "End what somebody else holds: a grant, or a whole session",
		Long: `End a grant or a session on behalf of an operator, whoever holds it. The next in
line is granted, unless the grant carries a lock delay. The holder is told, but its
writes may still be under way: only fencing tokens keep them out.`,
		Example: `  holdfast revoke grant 281474976710657 --reason "stuck since noon"
  holdfast revoke session 7`,
	}
	helpOnly(cmd)
	cmd.PersistentFlags().StringVar(&reason, "reason", "", "why, for the holder to read")
	cmd.AddCommand(&cobra.Command{
		Use: "grant GRANT", Short: "End a grant", Args: cobra.ExactArgs(1),
		Example: `  holdfast revoke grant 281474976710657`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseGrant(args[0])
			if err != nil {
				return err
			}
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.RevokeGrantResponse, error) {
					return n.admin.RevokeGrant(ctx, &holdfastv1.RevokeGrantRequest{GrantId: id, Reason: reason})
				})
			if err != nil {
				return err
			}
			return a.done(res, "revoked grant=%d", id)
		},
	}, &cobra.Command{
		Use: "session SESSION", Short: "End a session with all it holds and waits for", Args: cobra.ExactArgs(1),
		Example: `  holdfast revoke session 7`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseSession(args[0])
			if err != nil {
				return err
			}
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.RevokeSessionResponse, error) {
					return n.admin.RevokeSession(ctx, &holdfastv1.RevokeSessionRequest{SessionId: id, Reason: reason})
				})
			if err != nil {
				return err
			}
			return a.done(res, "revoked session=%d", id)
		},
	})
	return cmd
}

func newClusterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look at the cluster and change its members",
		Example: `  holdfast cluster status
  holdfast cluster transfer`,
	}
	helpOnly(cmd)
	cmd.AddCommand(newStatusCommand(a), &cobra.Command{
		Use: "join NODE HOST:PORT", Short: "Take in a node that was started and waits to join",
		Long: `Take in a node that was started and waits to join, by its id and the address at
which other nodes reach it. It follows first, and votes once it has caught up. A node
that is started with 'server --join' asks for this itself.`,
		Example: `  holdfast cluster join n4 10.0.0.4:7481`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.AddMemberResponse, error) {
					return n.cluster.AddMember(ctx,
						&holdfastv1.AddMemberRequest{NodeId: args[0], PeerAddress: args[1]})
				})
			if err != nil {
				return err
			}
			return a.done(res, "%s joins cluster %s", printable(args[0]), res.GetCluster().GetClusterId())
		},
	}, &cobra.Command{
		Use: "remove NODE", Short: "Take a node out of the cluster", Args: cobra.ExactArgs(1),
		Example: `  holdfast cluster remove n4`,
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.RemoveMemberResponse, error) {
					return n.cluster.RemoveMember(ctx, &holdfastv1.RemoveMemberRequest{NodeId: args[0]})
				})
			if err != nil {
				return err
			}
			return a.done(res, "%s is no member any more", printable(args[0]))
		},
	}, &cobra.Command{
		Use: "transfer [NODE]", Short: "Hand leadership to another node", Args: cobra.MaximumNArgs(1),
		Example: `  holdfast cluster transfer
  holdfast cluster transfer n2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &holdfastv1.TransferLeadershipRequest{NodeId: strings.Join(args, "")}
			res, err := callService(cmd.Context(), a, false,
				func(ctx context.Context, n *node) (*holdfastv1.TransferLeadershipResponse, error) {
					return n.cluster.TransferLeadership(ctx, request)
				})
			if err != nil {
				return err
			}
			if res.GetLeaderId() == "" {
				return a.done(res, "handed over; the new leader is not known yet")
			}
			return a.done(res, "%s leads", res.GetLeaderId())
		},
	})
	return cmd
}

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the members, who leads, and how healthy it is", Args: cobra.NoArgs,
		Long: `Show the cluster as the node sees it that answered. Exit code 69 if the cluster
cannot commit just now.`,
		Example: `  holdfast cluster status`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := callService(cmd.Context(), a, true,
				func(ctx context.Context, n *node) (*holdfastv1.GetStatusResponse, error) {
					return n.cluster.GetStatus(ctx, &holdfastv1.GetStatusRequest{})
				})
			if err != nil {
				return err
			}
			if err := a.printStatus(res); err != nil {
				return err
			}
			if !res.GetHealthy() {
				return failure(exitUnavailable, "a majority of the members must be up and reach each other",
					"the cluster cannot commit just now")
			}
			return nil
		},
	}
}

func (a *app) printStatus(res *holdfastv1.GetStatusResponse) error {
	if a.format == outputJSON {
		return printJSON(a.stdout, res)
	}
	health := "healthy"
	if !res.GetHealthy() {
		health = "cannot commit"
	}
	w := a.stdout
	fmt.Fprintf(w, "cluster %s: %s\n", res.GetCluster().GetClusterId(), health)
	fmt.Fprintf(w, "epoch %d, term %d, applied index %d, state hash %s, semantics version %d\n",
		res.GetCluster().GetEpoch(), res.GetTerm(), res.GetStamp().GetIndex(), res.GetStateHash(),
		res.GetSemanticsVersion())
	fmt.Fprintf(w, "%d sessions, %d grants, %d waiting\n", res.GetSessions(), res.GetGrants(), res.GetWaiting())
	fmt.Fprintf(w, "answered by %s (holdfast %s, up %s)\n\n", res.GetNodeId(), res.GetServerVersion(),
		durationText(res.GetUptime()))
	t := newTable(w, "NODE", "ROLE", "REACHABLE", "APPLIED", "CLIENTS", "PEERS")
	for _, m := range res.GetMembers() {
		reachable := "no"
		if m.GetReachable() {
			reachable = "yes"
		}
		t.row(m.GetNodeId(), enumWords(m.GetRole().String(), "MEMBER_ROLE_"), reachable,
			fmt.Sprint(m.GetAppliedIndex()), m.GetClientUrl(), m.GetPeerAddress())
	}
	return t.flush()
}

// version is set by the linker in releases (-X main.version=v1.2.3).
var version = ""

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionText()
			if a.format == outputJSON {
				_, err := fmt.Fprintf(a.stdout, "{\"version\":%q,\"go\":%q,\"platform\":%q}\n",
					v, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "holdfast %s (%s, %s/%s)\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// versionText is the release's version, else the commit that the binary was built from.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
