package rpc

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/wire"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Every command of the lock table that comes from outside is made here, and only out of fields
// that have been checked.

func openSession(r *v1.OpenSessionRequest, principal string) (*locktable.OpenSession, *v1.Error) {
	var at place
	namespace, err := at.namespace(r.GetNamespace())
	if err != nil {
		return nil, err
	}
	ttl, err := at.millis("ttl", r.GetTtl(), ttlDefault)
	if err != nil {
		return nil, err
	}
	return &locktable.OpenSession{
			Principal: principal,
			Namespace: namespace,
			TTL:       ttl,
			Metadata:  r.GetMetadata(),
			Nonce:     r.GetNonce(),
		}, first(
			at.text("metadata", r.GetMetadata(), metadataBytesMax),
			at.text("nonce", r.GetNonce(), nonceBytesMax),
		)
}

func renewSession(r *v1.RenewSessionRequest, principal string) (*locktable.RenewSession, *v1.Error) {
	session := locktable.SessionID(r.GetSessionId())
	return &locktable.RenewSession{Principal: principal, Session: session}, place{}.session(r.GetSessionId())
}

func closeSession(r *v1.CloseSessionRequest, principal string) (*locktable.CloseSession, *v1.Error) {
	return &locktable.CloseSession{
		Principal: principal,
		Session:   locktable.SessionID(r.GetSessionId()),
		Abandon:   r.GetAbandon(),
	}, place{}.session(r.GetSessionId())
}

// execute gives the commands of a batch, one for each operation, in the same order.
func execute(r *v1.ExecuteRequest, principal string) ([]locktable.Command, *v1.Error) {
	var at place
	if err := at.session(r.GetSessionId()); err != nil {
		return nil, err
	}
	n := len(r.GetOperations())
	switch {
	case n == 0:
		return nil, at.invalid("operations", "missing", "1 to 1024 operations")
	case n > operationsMax:
		return nil, at.invalid("operations", fmt.Sprintf("%d operations", n), "at most 1024")
	}
	if size := sizeOf(r); size > executeBytesMax {
		return nil, at.invalid("operations", fmt.Sprintf("%d bytes", size), "at most 262144 bytes (256 KiB)")
	}
	caller := locktable.Caller{
		Principal: principal,
		Session:   locktable.SessionID(r.GetSessionId()),
		Acked:     r.GetAcked(),
	}
	commands := make([]locktable.Command, n)
	var room commandRoom
	for i, op := range r.GetOperations() {
		room.left = n - i
		command, err := operation(i, op, caller, &room)
		if err != nil {
			return nil, err
		}
		commands[i] = command
	}
	return commands, nil
}

// operationBytesMost is more than an operation takes without its texts and claims, and claimBytesMost
// than a claim takes without its name.
const (
	operationBytesMost = 232
	claimBytesMost     = 32
)

// sizeOf gives the size of a request, or, if that is far from the limit, something above it that is
// cheaper to tell.
func sizeOf(r *v1.ExecuteRequest) int {
	most := 2 * operationBytesMost
	for _, op := range r.GetOperations() {
		most += operationBytesMost
		if a := op.GetAcquire(); a != nil {
			most += len(a.GetName()) + len(a.GetOwner()) + len(a.GetMetadata()) + len(a.GetNamespace()) + len(a.GetNonce())
			for _, claim := range a.GetClaims() {
				most += claimBytesMost + len(claim.GetName())
			}
		}
		most += len(op.GetConvert().GetName())
	}
	if most <= executeBytesMax {
		return most
	}
	return proto.Size(r)
}

// commandRoom is the memory for the commands of a batch. The zero value is room for one.
type commandRoom struct {
	left     int // commands that are still to be made
	acquires wire.Slab[acquireRoom]
	releases wire.Slab[locktable.Release]
}

// acquireRoom is an acquire with room for its claim, as most have only one.
type acquireRoom struct {
	locktable.Acquire
	claim [1]locktable.Claim
}

// alone is the number of an operation that does not stand in a batch.
const alone = -1

// operation gives the command of the i-th operation of a batch, or of one that stands alone.
func operation(
	i int, op *v1.Operation, of locktable.Caller, room *commandRoom,
) (locktable.Command, *v1.Error) {
	at := func(verb string) place {
		if i == alone {
			return place{}
		}
		return place{i, verb}
	}
	switch o := op.GetOperation().(type) {
	case *v1.Operation_Acquire:
		return acquire(at("acquire"), o.Acquire, of, room.acquires.One(room.left))
	case *v1.Operation_Release:
		return release(at("release"), o.Release, of, room.releases.One(room.left))
	case *v1.Operation_Convert:
		return convert(at("convert"), o.Convert, of)
	case *v1.Operation_Renew:
		return renew(at("renew"), o.Renew, of)
	case *v1.Operation_Cancel:
		return cancel(at("cancel"), o.Cancel, of)
	}
	return nil, place{}.invalid(fmt.Sprintf("operations[%d]", max(i, 0)), "empty",
		"one of acquire, release, convert, renew, cancel")
}

// numbered is a request that can carry a session and a request id.
type numbered interface {
	GetSessionId() uint64
	GetRequestId() uint64
	GetAcked() uint64
}

const (
	ofTheBatch     = "is given for the whole batch; leave it unset in an operation"
	withoutSession = "has a meaning only without a session; leave it unset"
	withSession    = "has a meaning only with a session; leave it unset"
)

// caller says who gives a command: the batch, for an operation in one, else the request itself.
func (p place) caller(r numbered, of locktable.Caller) (locktable.Caller, *v1.Error) {
	of.Request = r.GetRequestId()
	if p.verb == "" {
		of.Session, of.Acked = locktable.SessionID(r.GetSessionId()), r.GetAcked()
		return of, nil
	}
	return of, p.unset(ofTheBatch,
		field{"session_id", r.GetSessionId() != 0}, field{"acked", r.GetAcked() != 0})
}

func acquire(
	at place, r *v1.AcquireRequest, of locktable.Caller, room *acquireRoom,
) (locktable.Command, *v1.Error) {
	caller, err := at.caller(r, of)
	if err != nil {
		return nil, err
	}
	c := &room.Acquire
	c.Caller = caller
	c.Owner, c.Metadata = r.GetOwner(), r.GetMetadata()
	c.Priority = r.GetPriority()
	c.NoReentry = r.Reentrant != nil && !r.GetReentrant()
	if c.Claims, err = at.claims(r, &room.claim); err != nil {
		return nil, err
	}
	if c.WaitLimit, err = at.millis("wait", r.GetWait(), 0); err != nil {
		return nil, err
	}
	if c.Lease, err = at.millis("lease", r.GetLease(), 0); err != nil {
		return nil, err
	}
	if c.MaxHold, err = at.millis("max_hold", r.GetMaxHold(), 0); err != nil {
		return nil, err
	}
	if c.LockDelay, err = at.millis("lock_delay", r.GetLockDelay(), 0); err != nil {
		return nil, err
	}
	if c.OnDeadlock, err = at.deadlockAction(r.GetOnDeadlock()); err != nil {
		return nil, err
	}
	if err := first(
		at.text("owner", r.GetOwner(), ownerBytesMax),
		at.priority(r.GetPriority()),
		at.text("metadata", r.GetMetadata(), metadataBytesMax),
	); err != nil {
		return nil, err
	}
	if err := at.ownSession(r, c); err != nil {
		return nil, err
	}
	return c, nil
}

// ownSession checks and fills the fields of an acquire that opens a session for itself (HF-4.12).
func (p place) ownSession(r *v1.AcquireRequest, c *locktable.Acquire) *v1.Error {
	if c.Session != 0 {
		return p.unset(withoutSession, field{"namespace", r.GetNamespace() != ""},
			field{"ttl", r.GetTtl() != nil}, field{"nonce", r.GetNonce() != ""})
	}
	err := p.unset(withSession,
		field{"request_id", r.GetRequestId() != 0}, field{"acked", r.GetAcked() != 0})
	if err != nil {
		return err
	}
	if c.Namespace, err = p.namespace(r.GetNamespace()); err != nil {
		return err
	}
	if c.TTL, err = p.millis("ttl", r.GetTtl(), ttlDefault); err != nil {
		return err
	}
	c.Nonce = r.GetNonce()
	return p.text("nonce", c.Nonce, nonceBytesMax)
}

// claims gives what an acquire asks for: one name, or a list of claims.
func (p place) claims(r *v1.AcquireRequest, one *[1]locktable.Claim) ([]locktable.Claim, *v1.Error) {
	if len(r.GetClaims()) == 0 {
		if r.GetName() == "" {
			return nil, p.refuse(v1.ErrorReason_ERROR_REASON_INVALID_NAME, "name", "missing",
				"give name or claims")
		}
		mode, err := p.mode("mode", r.GetMode())
		one[0] = locktable.Claim{Name: r.GetName(), Mode: mode}
		return one[:], first(p.name("name", r.GetName()), err)
	}
	if err := p.unset("is given together with claims; give one of the two",
		field{"name", r.GetName() != ""}, field{"mode", r.GetMode() != 0}); err != nil {
		return nil, err
	}
	if n := len(r.GetClaims()); n > claimsMax {
		return nil, p.invalid("claims", strconv.Itoa(n)+" claims", "at most 64")
	}
	claims := make([]locktable.Claim, len(r.GetClaims()))
	for i, claim := range r.GetClaims() {
		field := "claims[" + strconv.Itoa(i) + "]"
		for j := range i {
			if claims[j].Name == claim.GetName() {
				return nil, p.invalid(field+".name", strconv.Quote(claim.GetName())+" is given twice",
					"each name once")
			}
		}
		if claim.GetSlots() > 1 {
			return nil, p.invalid(field+".slots", strconv.FormatUint(uint64(claim.GetSlots()), 10),
				"0 or 1; counted locks are reserved")
		}
		mode, err := p.mode(field+".mode", claim.GetMode())
		if err := first(p.name(field+".name", claim.GetName()), err); err != nil {
			return nil, err
		}
		claims[i] = locktable.Claim{Name: claim.GetName(), Mode: mode}
	}
	return claims, nil
}

func release(
	at place, r *v1.ReleaseRequest, of locktable.Caller, c *locktable.Release,
) (locktable.Command, *v1.Error) {
	caller, err := at.caller(r, of)
	c.Caller, c.Grant = caller, locktable.GrantID(r.GetGrantId())
	return c, first(err, at.grant(r.GetGrantId()))
}

func renew(at place, r *v1.RenewRequest, of locktable.Caller) (locktable.Command, *v1.Error) {
	caller, err := at.caller(r, of)
	c := &locktable.Renew{Caller: caller, Grant: locktable.GrantID(r.GetGrantId())}
	return c, first(err, at.grant(r.GetGrantId()))
}

func convert(at place, r *v1.ConvertRequest, of locktable.Caller) (locktable.Command, *v1.Error) {
	caller, err := at.caller(r, of)
	if err := first(err, at.grant(r.GetGrantId()), at.priority(r.GetPriority())); err != nil {
		return nil, err
	}
	c := &locktable.Convert{
		Caller:   caller,
		Grant:    locktable.GrantID(r.GetGrantId()),
		Name:     r.GetName(),
		Priority: r.GetPriority(),
	}
	if c.Name != "" || r.GetDrop() {
		if err := at.name("name", r.GetName()); err != nil {
			return nil, err
		}
	}
	if c.Mode, err = at.newMode(r); err != nil {
		return nil, err
	}
	if c.WaitLimit, err = at.millis("wait", r.GetWait(), 0); err != nil {
		return nil, err
	}
	if c.OnDeadlock, err = at.deadlockAction(r.GetOnDeadlock()); err != nil {
		return nil, err
	}
	return c, nil
}

// newMode gives the mode to convert to; None drops the name. Unlike an acquire, a conversion does
// not take exclusive for granted: a forgotten field must not shut others out.
func (p place) newMode(r *v1.ConvertRequest) (locktable.Mode, *v1.Error) {
	if r.GetDrop() {
		return locktable.None, p.unset("is given together with drop; give one of the two",
			field{"mode", r.GetMode() != v1.Mode_MODE_UNSPECIFIED})
	}
	if r.GetMode() == v1.Mode_MODE_UNSPECIFIED {
		return locktable.None, p.refuse(v1.ErrorReason_ERROR_REASON_INVALID_MODE, "mode", "missing",
			"give mode or drop")
	}
	return p.mode("mode", r.GetMode())
}

func cancel(at place, r *v1.CancelRequest, of locktable.Caller) (locktable.Command, *v1.Error) {
	caller, err := at.caller(r, of)
	if err := first(err, at.session(uint64(caller.Session))); err != nil {
		return nil, err
	}
	if caller.Request == 0 {
		return nil, at.invalid("request_id", "missing", "at least 1")
	}
	return &locktable.Cancel{Caller: caller}, nil
}

func revokeGrant(r *v1.RevokeGrantRequest) (locktable.Command, *v1.Error) {
	var at place
	return &locktable.RevokeGrant{Grant: locktable.GrantID(r.GetGrantId()), Reason: r.GetReason()},
		first(at.grant(r.GetGrantId()), at.text("reason", r.GetReason(), metadataBytesMax))
}

func revokeSession(r *v1.RevokeSessionRequest) (locktable.Command, *v1.Error) {
	var at place
	return &locktable.RevokeSession{Session: locktable.SessionID(r.GetSessionId()), Reason: r.GetReason()},
		first(at.session(r.GetSessionId()), at.text("reason", r.GetReason(), metadataBytesMax))
}
