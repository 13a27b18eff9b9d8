// Package modelcheck compares the lock table with the independent model of
// conformance/model, batch by batch, in many small worlds on virtual time: results and events field
// by field, the whole state, views, the table's own Check, and now and then a snapshot and restore.
//
// A plain `go test` compares for some seconds, with seeds taken from the clock. For more:
//
//	go test -run TableAndModel -commands 10000000 -shards 2 -timeout 2h
//	go test -run TableAndModel -world SEED        # the world that a failure names
//	go test -fuzz FuzzTable -fuzzminimizetime 5s
//
// MODELCHECK_COMMANDS and MODELCHECK_SEED do the same as -commands and -seed.
package modelcheck

import (
	"fmt"

	"github.com/holdfast-dev/holdfast/conformance/model"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// toModel tells a command in the words of the model.
func toModel(command locktable.Command) model.Command {
	switch c := command.(type) {
	case *locktable.Bootstrap:
		return model.Command{Kind: "Bootstrap", Name: c.ClusterID}
	case *locktable.OpenSession:
		return model.Command{Kind: "OpenSession", Principal: c.Principal, Namespace: c.Namespace,
			TTL: c.TTL, Metadata: c.Metadata, Nonce: c.Nonce}
	case *locktable.RenewSession:
		return model.Command{Kind: "RenewSession", Principal: c.Principal, Session: uint64(c.Session)}
	case *locktable.CloseSession:
		return model.Command{Kind: "CloseSession", Principal: c.Principal, Session: uint64(c.Session),
			Abandon: c.Abandon}
	case *locktable.Acquire:
		m := ofCaller("Acquire", c.Caller)
		m.Owner, m.Claims, m.Wait, m.Priority = c.Owner, claims(c.Claims), c.WaitLimit, c.Priority
		m.Lease, m.MaxHold, m.LockDelay = c.Lease, c.MaxHold, c.LockDelay
		m.ReleaseOwner, m.NoReentry = c.OnDeadlock == locktable.ReleaseOwner, c.NoReentry
		m.Metadata, m.Namespace, m.TTL, m.Nonce = c.Metadata, c.Namespace, c.TTL, c.Nonce
		return m
	case *locktable.Release:
		m := ofCaller("Release", c.Caller)
		m.Grant = int64(c.Grant)
		return m
	case *locktable.Convert:
		m := ofCaller("Convert", c.Caller)
		m.Grant, m.Name, m.Mode, m.Wait = int64(c.Grant), c.Name, model.Mode(c.Mode), c.WaitLimit
		m.Priority, m.ReleaseOwner = c.Priority, c.OnDeadlock == locktable.ReleaseOwner
		return m
	case *locktable.Renew:
		m := ofCaller("Renew", c.Caller)
		m.Grant = int64(c.Grant)
		return m
	case *locktable.Cancel:
		m := ofCaller("Cancel", c.Caller)
		m.Namespace, m.Nonce = c.Namespace, c.Nonce
		return m
	case *locktable.RevokeGrant:
		return model.Command{Kind: "RevokeGrant", Grant: int64(c.Grant), Reason: c.Reason}
	case *locktable.RevokeSession:
		return model.Command{Kind: "RevokeSession", Session: uint64(c.Session), Reason: c.Reason}
	case *locktable.SetLimits:
		return model.Command{Kind: "SetLimits", Limits: model.Limits(c.Limits)}
	case *locktable.SetSemantics:
		return model.Command{Kind: "SetSemantics", Number: c.Version}
	case *locktable.RaiseEpoch:
		return model.Command{Kind: "RaiseEpoch", Number: c.Epoch}
	}
	panic(fmt.Sprintf("unknown command %T", command))
}

func ofCaller(kind string, c locktable.Caller) model.Command {
	return model.Command{Kind: kind, Principal: c.Principal, Session: uint64(c.Session),
		Request: c.Request, Acked: c.Acked}
}

func claims(all []locktable.Claim) (out []model.Claim) {
	for _, c := range all {
		out = append(out, model.Claim{Name: c.Name, Mode: model.Mode(c.Mode)})
	}
	return out
}

// The words of the model for the values of the table.
var (
	outcomes = [...]string{
		locktable.OutcomeNone: "", locktable.Done: "DONE", locktable.Refused: "REFUSED",
		locktable.Granted: "GRANTED", locktable.Queued: "QUEUED", locktable.Held: "HELD",
		locktable.WaitLimitReached: "WAIT_LIMIT_REACHED", locktable.Cancelled: "CANCELLED",
		locktable.DeadlockVictim: "DEADLOCK_VICTIM", locktable.SessionEnded: "SESSION_ENDED",
		locktable.Revoked: "REVOKED",
	}
	refusals = [...]string{
		locktable.NoRefusal: "", locktable.SessionExpired: "SESSION_EXPIRED",
		locktable.SessionNotFound: "SESSION_NOT_FOUND", locktable.NotHolder: "NOT_HOLDER",
		locktable.StaleRequest: "STALE_REQUEST", locktable.RequestIDReused: "REQUEST_ID_REUSED",
		locktable.ConversionWaiting: "CONVERSION_WAITING", locktable.LastClaim: "LAST_CLAIM",
		locktable.NoSuchClaim: "NO_SUCH_CLAIM", locktable.QueueFull: "QUEUE_FULL",
		locktable.QuotaExceeded: "QUOTA_EXCEEDED", locktable.PermissionDenied: "PERMISSION_DENIED",
		locktable.InvalidEpoch: "INVALID_EPOCH", locktable.InvalidVersion: "INVALID_VERSION",
	}
	reasons = [...]string{
		locktable.NotEnded: "", locktable.Released: "RELEASED", locktable.Closed: "CLOSED",
		locktable.Abandoned: "ABANDONED", locktable.SessionTTLPassed: "SESSION_EXPIRED",
		locktable.LeasePassed: "LEASE_EXPIRED", locktable.MaxHoldPassed: "MAX_HOLD_REACHED",
		locktable.RevokedByOperator: "REVOKED", locktable.VictimReleased: "DEADLOCK_VICTIM",
		locktable.Restored: "RESTORED",
	}
	blockerKinds = [...]string{locktable.Holder: "holder", locktable.GhostLeft: "ghost",
		locktable.WaiterAhead: "waiter"}
	eventKinds = [...]string{
		locktable.EventQueued: "queued", locktable.EventOutcome: "outcome",
		locktable.EventGranted: "granted", locktable.EventConverted: "converted",
		locktable.EventGrantEnded: "grant ended", locktable.EventSessionEnded: "session ended",
		locktable.EventDeadlock: "deadlock",
	}
)

// fromTable tells a result of the table in the words of the model.
func fromTable(r locktable.Result) model.Result {
	m := model.Result{
		At: model.Index(r.At), Arrival: model.Index(r.Arrival), First: r.First,
		Outcome: outcomes[r.Outcome], Refusal: refusals[r.Refusal],
		Session: uint64(r.Session), TTL: r.TTL, SessionDeadline: r.SessionDeadline,
		Grant: grantFromTable(r.Grant), Ended: reasons[r.Ended], Detail: r.Detail,
		Position: r.Position, BlockersTotal: r.BlockersTotal, Cycle: cycleFromTable(r.Cycle),
		Name: r.Name, Limit: r.Limit, Floor: r.Floor,
	}
	for _, b := range r.Blockers {
		m.Blockers = append(m.Blockers, model.Blocker{
			Kind: blockerKinds[b.Kind], Name: b.Name, Mode: model.Mode(b.Mode),
			Owner: model.Owner{Session: uint64(b.Session), Key: b.Owner}, Grant: int64(b.Grant),
			Request: b.Request, Arrival: model.Index(b.Arrival),
		})
	}
	return m
}

func grantFromTable(g locktable.GrantInfo) model.GrantInfo {
	return model.GrantInfo{ID: int64(g.ID), Token: int64(g.Token), Claims: claims(g.Claims), Depth: g.Depth,
		SessionAt: g.Deadlines.Session, LeaseAt: g.Deadlines.Lease, MaxAt: g.Deadlines.MaxHold}
}

func cycleFromTable(cycle []locktable.CycleStep) (out []model.Step) {
	for _, s := range cycle {
		out = append(out, model.Step{Owner: model.Owner{Session: uint64(s.Session), Key: s.Owner},
			Request: s.Request, Arrival: model.Index(s.Arrival), Name: s.Name, Mode: model.Mode(s.Mode)})
	}
	return out
}

// eventFromTable tells an event of the table in the words of the model.
func eventFromTable(e locktable.Event) model.Event {
	return model.Event{
		Kind: eventKinds[e.Kind], Owner: model.Owner{Session: uint64(e.Session), Key: e.Owner},
		Namespace: e.Namespace, Request: e.Request, Arrival: model.Index(e.Arrival),
		Converts: int64(e.Converts), Claims: claims(e.Claims), Victim: model.Index(e.Victim),
		Result: model.Result{At: model.Index(e.At), Outcome: outcomes[e.Outcome],
			Grant: grantFromTable(e.Grant), Ended: reasons[e.Ended], Detail: e.Detail,
			Cycle: cycleFromTable(e.Cycle)},
	}
}
