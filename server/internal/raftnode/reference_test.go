package raftnode

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/log/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

func encodeGenerated(e Entry) ([]byte, error) {
	m := &logv1.Entry{SemanticsVersion: e.Version, StampMs: e.Stamp, Proposal: e.Proposal}
	for _, c := range e.Commands {
		wire, err := toWire(c)
		if err != nil {
			return nil, err
		}
		m.Commands = append(m.Commands, wire)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return framed(body), err
}

// framed puts a valid head before the bytes of an entry.
func framed(body []byte) []byte {
	frame := append(make([]byte, frameHead), body...)
	frame[0] = frameVersion
	binary.BigEndian.PutUint32(frame[1:], crc32.Checksum(body, castagnoli))
	return frame
}

func decodeGenerated(body []byte) (Entry, error) {
	var m logv1.Entry
	if err := proto.Unmarshal(body, &m); err != nil {
		return Entry{}, damagef("entry cannot be read: %w", err)
	}
	if m.GetSemanticsVersion() > SemanticsMax {
		return Entry{}, newerf("semantics version %d", m.GetSemanticsVersion())
	}
	e := Entry{Proposal: m.GetProposal(), Version: m.GetSemanticsVersion(), Stamp: m.GetStampMs()}
	for _, wire := range m.GetCommands() {
		c, err := fromWire(wire)
		if err != nil {
			return Entry{}, err
		}
		e.Commands = append(e.Commands, c)
	}
	return e, nil
}

// toWire and fromWire go by the generated types of holdfast.log.v1. The codec is compared with them.
func toWire(command locktable.Command) (*logv1.Command, error) {
	switch c := command.(type) {
	case *locktable.Bootstrap:
		return &logv1.Command{Command: &logv1.Command_Bootstrap{
			Bootstrap: &logv1.Bootstrap{ClusterId: c.ClusterID}}}, nil
	case *locktable.OpenSession:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_OpenSession{
			OpenSession: &logv1.OpenSession{
				Namespace: c.Namespace, TtlMs: c.TTL, Metadata: c.Metadata, Nonce: c.Nonce}}}, nil
	case *locktable.RenewSession:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_RenewSession{
			RenewSession: &logv1.RenewSession{SessionId: uint64(c.Session)}}}, nil
	case *locktable.CloseSession:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_CloseSession{
			CloseSession: &logv1.CloseSession{SessionId: uint64(c.Session), Abandon: c.Abandon}}}, nil
	case *locktable.Acquire:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_Acquire{Acquire: acquireToWire(c)}}, nil
	case *locktable.Release:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_Release{Release: &logv1.Release{
			SessionId: uint64(c.Session), RequestId: c.Request, Acked: c.Acked, GrantId: int64(c.Grant)}}}, nil
	case *locktable.Convert:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_Convert{Convert: &logv1.Convert{
			SessionId: uint64(c.Session), RequestId: c.Request, Acked: c.Acked, GrantId: int64(c.Grant),
			Name: c.Name, Mode: uint32(c.Mode), WaitMs: c.WaitLimit, Priority: c.Priority,
			ReleaseOwner: c.OnDeadlock == locktable.ReleaseOwner}}}, nil
	case *locktable.Renew:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_Renew{Renew: &logv1.Renew{
			SessionId: uint64(c.Session), RequestId: c.Request, Acked: c.Acked, GrantId: int64(c.Grant)}}}, nil
	case *locktable.Cancel:
		return &logv1.Command{Principal: c.Principal, Command: &logv1.Command_Cancel{Cancel: &logv1.Cancel{
			SessionId: uint64(c.Session), Target: c.Request, Acked: c.Acked, Nonce: c.Nonce, Namespace: c.Namespace}}}, nil
	}
	return operatorToWire(command)
}

// operatorToWire is toWire for the commands that no client gives.
func operatorToWire(command locktable.Command) (*logv1.Command, error) {
	switch c := command.(type) {
	case *locktable.RevokeGrant:
		return &logv1.Command{Command: &logv1.Command_RevokeGrant{
			RevokeGrant: &logv1.RevokeGrant{GrantId: int64(c.Grant), Reason: c.Reason}}}, nil
	case *locktable.RevokeSession:
		return &logv1.Command{Command: &logv1.Command_RevokeSession{
			RevokeSession: &logv1.RevokeSession{SessionId: uint64(c.Session), Reason: c.Reason}}}, nil
	case *locktable.SetLimits:
		return &logv1.Command{Command: &logv1.Command_SetLimits{SetLimits: &logv1.SetLimits{
			WaitersPerName:       c.Limits.WaitersPerName,
			GrantsPerSession:     c.Limits.GrantsPerSession,
			SessionsPerPrincipal: c.Limits.SessionsPerPrincipal}}}, nil
	case *locktable.SetSemantics:
		return &logv1.Command{Command: &logv1.Command_SetSemantics{
			SetSemantics: &logv1.SetSemantics{Version: c.Version}}}, nil
	case *locktable.RaiseEpoch:
		return &logv1.Command{Command: &logv1.Command_RaiseEpoch{
			RaiseEpoch: &logv1.RaiseEpoch{Epoch: c.Epoch}}}, nil
	}
	return nil, fmt.Errorf("no form in the log for command %T", command)
}

func acquireToWire(c *locktable.Acquire) *logv1.Acquire {
	claims := make([]*logv1.Claim, len(c.Claims))
	for i, claim := range c.Claims {
		claims[i] = &logv1.Claim{Name: claim.Name, Mode: uint32(claim.Mode)}
	}
	return &logv1.Acquire{
		SessionId: uint64(c.Session), RequestId: c.Request, Acked: c.Acked,
		Owner: c.Owner, Claims: claims, WaitMs: c.WaitLimit, Priority: c.Priority,
		LeaseMs: c.Lease, MaxHoldMs: c.MaxHold, LockDelayMs: c.LockDelay,
		ReleaseOwner: c.OnDeadlock == locktable.ReleaseOwner, NotReentrant: c.NoReentry, Metadata: c.Metadata,
		Namespace: c.Namespace, TtlMs: c.TTL, Nonce: c.Nonce,
	}
}

func fromWire(m *logv1.Command) (locktable.Command, error) {
	principal := m.GetPrincipal()
	caller := func(session, request, acked uint64) locktable.Caller {
		return locktable.Caller{
			Principal: principal, Session: locktable.SessionID(session), Request: request, Acked: acked}
	}
	switch c := m.GetCommand().(type) {
	case *logv1.Command_Bootstrap:
		return &locktable.Bootstrap{ClusterID: c.Bootstrap.GetClusterId()}, nil
	case *logv1.Command_OpenSession:
		o := c.OpenSession
		return &locktable.OpenSession{Principal: principal, Namespace: o.GetNamespace(), TTL: o.GetTtlMs(),
			Metadata: o.GetMetadata(), Nonce: o.GetNonce()}, nil
	case *logv1.Command_RenewSession:
		return &locktable.RenewSession{
			Principal: principal, Session: locktable.SessionID(c.RenewSession.GetSessionId())}, nil
	case *logv1.Command_CloseSession:
		return &locktable.CloseSession{Principal: principal,
			Session: locktable.SessionID(c.CloseSession.GetSessionId()), Abandon: c.CloseSession.GetAbandon()}, nil
	case *logv1.Command_Acquire:
		return acquireFromWire(caller(c.Acquire.GetSessionId(), c.Acquire.GetRequestId(), c.Acquire.GetAcked()),
			c.Acquire)
	case *logv1.Command_Release:
		r := c.Release
		return &locktable.Release{Caller: caller(r.GetSessionId(), r.GetRequestId(), r.GetAcked()),
			Grant: locktable.GrantID(r.GetGrantId())}, nil
	case *logv1.Command_Convert:
		v := c.Convert
		mode, err := modeFromWire(v.GetMode())
		return &locktable.Convert{Caller: caller(v.GetSessionId(), v.GetRequestId(), v.GetAcked()),
			Grant: locktable.GrantID(v.GetGrantId()), Name: v.GetName(), Mode: mode, WaitLimit: v.GetWaitMs(),
			Priority: v.GetPriority(), OnDeadlock: onDeadlock(v.GetReleaseOwner())}, err
	case *logv1.Command_Renew:
		r := c.Renew
		return &locktable.Renew{Caller: caller(r.GetSessionId(), r.GetRequestId(), r.GetAcked()),
			Grant: locktable.GrantID(r.GetGrantId())}, nil
	case *logv1.Command_Cancel:
		n := c.Cancel
		return &locktable.Cancel{Caller: caller(n.GetSessionId(), n.GetTarget(), n.GetAcked()),
			Namespace: n.GetNamespace(), Nonce: n.GetNonce()}, nil
	}
	return operatorFromWire(m)
}

func operatorFromWire(m *logv1.Command) (locktable.Command, error) {
	switch c := m.GetCommand().(type) {
	case *logv1.Command_RevokeGrant:
		return &locktable.RevokeGrant{
			Grant: locktable.GrantID(c.RevokeGrant.GetGrantId()), Reason: c.RevokeGrant.GetReason()}, nil
	case *logv1.Command_RevokeSession:
		return &locktable.RevokeSession{
			Session: locktable.SessionID(c.RevokeSession.GetSessionId()), Reason: c.RevokeSession.GetReason()}, nil
	case *logv1.Command_SetLimits:
		return &locktable.SetLimits{Limits: locktable.Limits{
			WaitersPerName:       c.SetLimits.GetWaitersPerName(),
			GrantsPerSession:     c.SetLimits.GetGrantsPerSession(),
			SessionsPerPrincipal: c.SetLimits.GetSessionsPerPrincipal()}}, nil
	case *logv1.Command_SetSemantics:
		return &locktable.SetSemantics{Version: c.SetSemantics.GetVersion()}, nil
	case *logv1.Command_RaiseEpoch:
		return &locktable.RaiseEpoch{Epoch: c.RaiseEpoch.GetEpoch()}, nil
	}
	return nil, newerf("a command that this version does not know")
}

func acquireFromWire(caller locktable.Caller, a *logv1.Acquire) (locktable.Command, error) {
	var claims []locktable.Claim
	for _, claim := range a.GetClaims() {
		mode, err := modeFromWire(claim.GetMode())
		if err != nil {
			return nil, err
		}
		claims = append(claims, locktable.Claim{Name: claim.GetName(), Mode: mode})
	}
	return &locktable.Acquire{
		Caller: caller, Owner: a.GetOwner(), Claims: claims, WaitLimit: a.GetWaitMs(), Priority: a.GetPriority(),
		Lease: a.GetLeaseMs(), MaxHold: a.GetMaxHoldMs(), LockDelay: a.GetLockDelayMs(),
		OnDeadlock: onDeadlock(a.GetReleaseOwner()), NoReentry: a.GetNotReentrant(), Metadata: a.GetMetadata(),
		Namespace: a.GetNamespace(), TTL: a.GetTtlMs(), Nonce: a.GetNonce(),
	}, nil
}

func onDeadlock(releaseOwner bool) locktable.DeadlockAction {
	if releaseOwner {
		return locktable.ReleaseOwner
	}
	return locktable.AbortWait
}

func modeFromWire(m uint32) (locktable.Mode, error) {
	if m > uint32(locktable.X) {
		return 0, newerf("mode %d, which this version does not know", m)
	}
	return locktable.Mode(m), nil
}
