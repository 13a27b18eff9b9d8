package raftnode

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-dev/holdfast/proto/wire"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// This file is the only place where commands of the lock table meet their form in the log. A new
// field or command comes with a new semantics version, so that a node that does not know it stops
// at the version of the entry instead of overlooking the field.

// form has the forms of holdfast.log.v1.
type form struct {
	wire.Wire
	command command // the one that is being written or read
	slabs   slabs
}

func number[T ~uint64 | ~uint32 | ~int64 | ~int32](f *form, n protowire.Number, p *T) {
	wire.Number(&f.Wire, n, p)
}

func (f *form) entry(e *Entry) {
	number(f, 1, &e.Version)
	number(f, 2, &e.Stamp)
	f.commands(3, &e.Commands)
	f.Fixed64(4, &e.Proposal)
}

func (f *form) commands(n protowire.Number, p *[]locktable.Command) {
	if !f.Reading() {
		for _, c := range *p {
			f.command = command{Command: c}
			wire.Message(f, n, &f.command, (*form).writeCommand)
		}
		return
	}
	first := len(*p)
	*p = append(*p, make([]locktable.Command, f.Run(n))...)
	for i := first; i < len(*p) && f.Err() == nil; i++ {
		f.slabs.left = len(*p) - i
		f.command = command{}
		wire.Message(f, n, &f.command, (*form).readCommand)
		(*p)[i] = f.command.named(f)
	}
}

// command is a command while it is written or read, with who gives it.
type command struct {
	locktable.Command
	principal string
}

// Numbers of the fields of holdfast.log.v1.Command.
const (
	principal protowire.Number = iota + 1
	openSession
	renewSession
	closeSession
	acquire
	release
	convert
	renew
	cancel
	revokeGrant
	revokeSession
	setLimits
	setSemantics
	raiseEpoch
	bootstrap
)

func (f *form) writeCommand(m *command) {
	if p := principalOf(m.Command); p != nil {
		f.String(principal, p)
	}
	switch c := m.Command.(type) {
	case *locktable.OpenSession:
		wire.Message(f, openSession, c, (*form).openSession)
	case *locktable.RenewSession:
		wire.Message(f, renewSession, c, (*form).renewSession)
	case *locktable.CloseSession:
		wire.Message(f, closeSession, c, (*form).closeSession)
	case *locktable.Acquire:
		wire.Message(f, acquire, c, (*form).acquire)
	case *locktable.Release:
		wire.Message(f, release, c, (*form).release)
	case *locktable.Convert:
		wire.Message(f, convert, c, (*form).convert)
	case *locktable.Renew:
		wire.Message(f, renew, c, (*form).renew)
	case *locktable.Cancel:
		wire.Message(f, cancel, c, (*form).cancel)
	case *locktable.RevokeGrant:
		wire.Message(f, revokeGrant, c, (*form).revokeGrant)
	case *locktable.RevokeSession:
		wire.Message(f, revokeSession, c, (*form).revokeSession)
	case *locktable.SetLimits:
		wire.Message(f, setLimits, c, (*form).setLimits)
	case *locktable.SetSemantics:
		wire.Message(f, setSemantics, c, (*form).setSemantics)
	case *locktable.RaiseEpoch:
		wire.Message(f, raiseEpoch, c, (*form).raiseEpoch)
	case *locktable.Bootstrap:
		wire.Message(f, bootstrap, c, (*form).bootstrap)
	default:
		f.Fail(fmt.Errorf("no form in the log for command %T", c))
	}
}

func (f *form) readCommand(m *command) {
	switch f.AtHand() {
	case principal:
		f.String(principal, &m.principal)
	case openSession:
		one(f, m, &f.slabs.openSession, (*form).openSession)
	case renewSession:
		one(f, m, &f.slabs.renewSession, (*form).renewSession)
	case closeSession:
		one(f, m, &f.slabs.closeSession, (*form).closeSession)
	case acquire:
		one(f, m, &f.slabs.acquire, (*form).acquire)
	case release:
		one(f, m, &f.slabs.release, (*form).release)
	case convert:
		one(f, m, &f.slabs.convert, (*form).convert)
	case renew:
		one(f, m, &f.slabs.renew, (*form).renew)
	case cancel:
		one(f, m, &f.slabs.cancel, (*form).cancel)
	case revokeGrant:
		one(f, m, &f.slabs.revokeGrant, (*form).revokeGrant)
	case revokeSession:
		one(f, m, &f.slabs.revokeSession, (*form).revokeSession)
	case setLimits:
		one(f, m, new(wire.Slab[locktable.SetLimits]), (*form).setLimits)
	case setSemantics:
		one(f, m, new(wire.Slab[locktable.SetSemantics]), (*form).setSemantics)
	case raiseEpoch:
		one(f, m, new(wire.Slab[locktable.RaiseEpoch]), (*form).raiseEpoch)
	case bootstrap:
		one(f, m, new(wire.Slab[locktable.Bootstrap]), (*form).bootstrap)
	}
}

// one reads the field at hand as the command of m. Were there two of one kind, they would be merged.
func one[C any, P interface {
	*C
	locktable.Command
}](f *form, m *command, from *wire.Slab[C], read func(*form, *C)) {
	c, ok := m.Command.(P)
	if !ok {
		c = from.One(f.slabs.left)
		m.Command = c
	}
	wire.Message(f, f.AtHand(), (*C)(c), read)
}

// newerMode stands for every mode that this version does not know.
const newerMode = 1<<8 - 1

// named gives the command that was read, with its principal in it.
func (m *command) named(f *form) locktable.Command {
	if !m.isKnown() {
		f.Fail(newerf("a command or mode that this version does not know"))
		return nil
	}
	if p := principalOf(m.Command); p != nil {
		*p = m.principal
	}
	return m.Command
}

func (m *command) isKnown() bool {
	switch c := m.Command.(type) {
	case nil:
		return false
	case *locktable.Acquire:
		for _, claim := range c.Claims {
			if claim.Mode > locktable.X {
				return false
			}
		}
	case *locktable.Convert:
		return c.Mode <= locktable.X
	}
	return true
}

// principalOf gives the place of a command's principal; commands that no client gives have none.
func principalOf(command locktable.Command) *string {
	switch c := command.(type) {
	case *locktable.OpenSession:
		return &c.Principal
	case *locktable.RenewSession:
		return &c.Principal
	case *locktable.CloseSession:
		return &c.Principal
	case *locktable.Acquire:
		return &c.Principal
	case *locktable.Release:
		return &c.Principal
	case *locktable.Convert:
		return &c.Principal
	case *locktable.Renew:
		return &c.Principal
	case *locktable.Cancel:
		return &c.Principal
	}
	return nil
}

func (f *form) bootstrap(c *locktable.Bootstrap) { f.String(1, &c.ClusterID) }

func (f *form) openSession(c *locktable.OpenSession) {
	f.String(1, &c.Namespace)
	number(f, 2, &c.TTL)
	f.String(3, &c.Metadata)
	f.String(4, &c.Nonce)
}

func (f *form) renewSession(c *locktable.RenewSession) { number(f, 1, &c.Session) }

func (f *form) closeSession(c *locktable.CloseSession) {
	number(f, 1, &c.Session)
	f.Bool(2, &c.Abandon)
}

func (f *form) caller(c *locktable.Caller) {
	number(f, 1, &c.Session)
	number(f, 2, &c.Request)
	number(f, 3, &c.Acked)
}

func (f *form) acquire(c *locktable.Acquire) {
	f.caller(&c.Caller)
	f.String(4, &c.Owner)
	f.claims(5, &c.Claims)
	number(f, 6, &c.WaitLimit)
	f.Zigzag(7, &c.Priority)
	number(f, 8, &c.Lease)
	number(f, 9, &c.MaxHold)
	number(f, 10, &c.LockDelay)
	f.releaseOwner(11, &c.OnDeadlock)
	f.Bool(12, &c.NoReentry)
	f.String(13, &c.Metadata)
	f.String(14, &c.Namespace)
	number(f, 15, &c.TTL)
	f.String(16, &c.Nonce)
}

func (f *form) claims(n protowire.Number, p *[]locktable.Claim) {
	if f.Reading() {
		more := f.slabs.claims.Cut(f.Run(n), f.slabs.left)
		for i := range more {
			wire.Message(f, n, &more[i], (*form).claim)
		}
		if *p == nil && len(more) > 0 {
			*p = more
		} else {
			*p = append(*p, more...)
		}
		return
	}
	for i := range *p {
		wire.Message(f, n, &(*p)[i], (*form).claim)
	}
}

func (f *form) claim(c *locktable.Claim) {
	f.String(1, &c.Name)
	f.mode(2, &c.Mode)
}

func (f *form) mode(n protowire.Number, p *locktable.Mode) {
	if in, ok := f.Varint(n, uint64(*p)); ok {
		*p = locktable.Mode(min(uint32(in), newerMode))
	}
}

func (f *form) releaseOwner(n protowire.Number, p *locktable.DeadlockAction) {
	yes := *p == locktable.ReleaseOwner
	if f.Bool(n, &yes); f.Reading() {
		*p = locktable.AbortWait
		if yes {
			*p = locktable.ReleaseOwner
		}
	}
}

func (f *form) release(c *locktable.Release) {
	f.caller(&c.Caller)
	number(f, 4, &c.Grant)
}

func (f *form) convert(c *locktable.Convert) {
	f.caller(&c.Caller)
	number(f, 4, &c.Grant)
	f.String(5, &c.Name)
	f.mode(6, &c.Mode)
	number(f, 7, &c.WaitLimit)
	f.Zigzag(8, &c.Priority)
	f.releaseOwner(9, &c.OnDeadlock)
}

func (f *form) renew(c *locktable.Renew) {
	f.caller(&c.Caller)
	number(f, 4, &c.Grant)
}

func (f *form) cancel(c *locktable.Cancel) {
	f.caller(&c.Caller)
	f.String(4, &c.Nonce)
	f.String(5, &c.Namespace)
}

func (f *form) revokeGrant(c *locktable.RevokeGrant) {
	number(f, 1, &c.Grant)
	f.String(2, &c.Reason)
}

func (f *form) revokeSession(c *locktable.RevokeSession) {
	number(f, 1, &c.Session)
	f.String(2, &c.Reason)
}

func (f *form) setLimits(c *locktable.SetLimits) {
	number(f, 1, &c.Limits.WaitersPerName)
	number(f, 2, &c.Limits.GrantsPerSession)
	number(f, 3, &c.Limits.SessionsPerPrincipal)
}

func (f *form) setSemantics(c *locktable.SetSemantics) { number(f, 1, &c.Version) }

func (f *form) raiseEpoch(c *locktable.RaiseEpoch) { number(f, 1, &c.Epoch) }

// slabs are the memory of the commands of an entry: one piece for many of a kind.
type slabs struct {
	left          int // commands that are still to be read
	openSession   wire.Slab[locktable.OpenSession]
	renewSession  wire.Slab[locktable.RenewSession]
	closeSession  wire.Slab[locktable.CloseSession]
	acquire       wire.Slab[locktable.Acquire]
	release       wire.Slab[locktable.Release]
	convert       wire.Slab[locktable.Convert]
	renew         wire.Slab[locktable.Renew]
	cancel        wire.Slab[locktable.Cancel]
	revokeGrant   wire.Slab[locktable.RevokeGrant]
	revokeSession wire.Slab[locktable.RevokeSession]
	claims        wire.Slab[locktable.Claim]
}
