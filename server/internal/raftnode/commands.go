package raftnode

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// This file is the only place where commands of the lock table meet their form in the log. A new
// field or command comes with a new semantics version, so that a node that does not know it stops
// at the version of the entry instead of overlooking the field.

func (w *wire) entry(e *Entry) {
	number(w, 1, &e.Version)
	number(w, 2, &e.Stamp)
	w.commands(3, &e.Commands)
	w.fixed64(4, &e.Proposal)
}

func (w *wire) commands(n protowire.Number, p *[]locktable.Command) {
	if !w.reading {
		for _, c := range *p {
			w.command = command{Command: c}
			message(w, n, &w.command, (*wire).writeCommand)
		}
		return
	}
	if !w.has(n, protowire.BytesType) {
		return
	}
	first := len(*p)
	*p = append(*p, make([]locktable.Command, w.run())...)
	for i := first; i < len(*p) && w.err == nil; i++ {
		w.slabs.left = len(*p) - i
		w.command = command{}
		message(w, n, &w.command, (*wire).readCommand)
		(*p)[i] = w.command.named(w)
		if w.err != nil {
			w.err = fmt.Errorf("command %d of the entry: %w", i, w.err)
		}
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

func (w *wire) writeCommand(m *command) {
	if p := principalOf(m.Command); p != nil {
		w.string(principal, p)
	}
	switch c := m.Command.(type) {
	case *locktable.OpenSession:
		message(w, openSession, c, (*wire).openSession)
	case *locktable.RenewSession:
		message(w, renewSession, c, (*wire).renewSession)
	case *locktable.CloseSession:
		message(w, closeSession, c, (*wire).closeSession)
	case *locktable.Acquire:
		message(w, acquire, c, (*wire).acquire)
	case *locktable.Release:
		message(w, release, c, (*wire).release)
	case *locktable.Convert:
		message(w, convert, c, (*wire).convert)
	case *locktable.Renew:
		message(w, renew, c, (*wire).renew)
	case *locktable.Cancel:
		message(w, cancel, c, (*wire).cancel)
	case *locktable.RevokeGrant:
		message(w, revokeGrant, c, (*wire).revokeGrant)
	case *locktable.RevokeSession:
		message(w, revokeSession, c, (*wire).revokeSession)
	case *locktable.SetLimits:
		message(w, setLimits, c, (*wire).setLimits)
	case *locktable.SetSemantics:
		message(w, setSemantics, c, (*wire).setSemantics)
	case *locktable.RaiseEpoch:
		message(w, raiseEpoch, c, (*wire).raiseEpoch)
	case *locktable.Bootstrap:
		message(w, bootstrap, c, (*wire).bootstrap)
	default:
		w.fail(fmt.Errorf("no form in the log for command %T", c))
	}
}

func (w *wire) readCommand(m *command) {
	switch w.number {
	case principal:
		w.string(principal, &m.principal)
	case openSession:
		one(w, m, &w.slabs.openSession, (*wire).openSession)
	case renewSession:
		one(w, m, &w.slabs.renewSession, (*wire).renewSession)
	case closeSession:
		one(w, m, &w.slabs.closeSession, (*wire).closeSession)
	case acquire:
		one(w, m, &w.slabs.acquire, (*wire).acquire)
	case release:
		one(w, m, &w.slabs.release, (*wire).release)
	case convert:
		one(w, m, &w.slabs.convert, (*wire).convert)
	case renew:
		one(w, m, &w.slabs.renew, (*wire).renew)
	case cancel:
		one(w, m, &w.slabs.cancel, (*wire).cancel)
	case revokeGrant:
		one(w, m, &w.slabs.revokeGrant, (*wire).revokeGrant)
	case revokeSession:
		one(w, m, &w.slabs.revokeSession, (*wire).revokeSession)
	case setLimits:
		one(w, m, new(slab[locktable.SetLimits]), (*wire).setLimits)
	case setSemantics:
		one(w, m, new(slab[locktable.SetSemantics]), (*wire).setSemantics)
	case raiseEpoch:
		one(w, m, new(slab[locktable.RaiseEpoch]), (*wire).raiseEpoch)
	case bootstrap:
		one(w, m, new(slab[locktable.Bootstrap]), (*wire).bootstrap)
	}
}

// one reads the field at hand as the command of m. Were there two of one kind, they would be merged.
func one[C any, P interface {
	*C
	locktable.Command
}](w *wire, m *command, from *slab[C], form func(*wire, *C)) {
	if w.kind != protowire.BytesType {
		return
	}
	c, ok := m.Command.(P)
	if !ok {
		c = &from.cut(1, w.slabs.left)[0]
		m.Command = c
	}
	message(w, w.number, (*C)(c), form)
}

// newerMode stands for every mode that this version does not know.
const newerMode = 1<<8 - 1

// named gives the command that was read, with its principal in it.
func (m *command) named(w *wire) locktable.Command {
	if !m.isKnown() {
		w.fail(newerf("a command or mode that this version does not know"))
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

func (w *wire) bootstrap(c *locktable.Bootstrap) { w.string(1, &c.ClusterID) }

func (w *wire) openSession(c *locktable.OpenSession) {
	w.string(1, &c.Namespace)
	number(w, 2, &c.TTL)
	w.string(3, &c.Metadata)
	w.string(4, &c.Nonce)
}

func (w *wire) renewSession(c *locktable.RenewSession) { number(w, 1, &c.Session) }

func (w *wire) closeSession(c *locktable.CloseSession) {
	number(w, 1, &c.Session)
	w.flag(2, &c.Abandon)
}

func (w *wire) caller(c *locktable.Caller) {
	number(w, 1, &c.Session)
	number(w, 2, &c.Request)
	number(w, 3, &c.Acked)
}

func (w *wire) acquire(c *locktable.Acquire) {
	w.caller(&c.Caller)
	w.string(4, &c.Owner)
	w.claims(5, &c.Claims)
	number(w, 6, &c.WaitLimit)
	w.zigzag(7, &c.Priority)
	number(w, 8, &c.Lease)
	number(w, 9, &c.MaxHold)
	number(w, 10, &c.LockDelay)
	w.releaseOwner(11, &c.OnDeadlock)
	w.flag(12, &c.NoReentry)
	w.string(13, &c.Metadata)
	w.string(14, &c.Namespace)
	number(w, 15, &c.TTL)
	w.string(16, &c.Nonce)
}

func (w *wire) claims(n protowire.Number, p *[]locktable.Claim) {
	if w.reading {
		if !w.has(n, protowire.BytesType) {
			return
		}
		more := w.slabs.claims.cut(w.run(), w.slabs.left)
		for i := range more {
			message(w, n, &more[i], (*wire).claim)
		}
		if *p == nil {
			*p = more
		} else {
			*p = append(*p, more...)
		}
		return
	}
	for i := range *p {
		message(w, n, &(*p)[i], (*wire).claim)
	}
}

func (w *wire) claim(c *locktable.Claim) {
	w.string(1, &c.Name)
	w.mode(2, &c.Mode)
}

func (w *wire) release(c *locktable.Release) {
	w.caller(&c.Caller)
	number(w, 4, &c.Grant)
}

func (w *wire) convert(c *locktable.Convert) {
	w.caller(&c.Caller)
	number(w, 4, &c.Grant)
	w.string(5, &c.Name)
	w.mode(6, &c.Mode)
	number(w, 7, &c.WaitLimit)
	w.zigzag(8, &c.Priority)
	w.releaseOwner(9, &c.OnDeadlock)
}

func (w *wire) renew(c *locktable.Renew) {
	w.caller(&c.Caller)
	number(w, 4, &c.Grant)
}

func (w *wire) cancel(c *locktable.Cancel) {
	w.caller(&c.Caller)
	w.string(4, &c.Nonce)
	w.string(5, &c.Namespace)
}

func (w *wire) revokeGrant(c *locktable.RevokeGrant) {
	number(w, 1, &c.Grant)
	w.string(2, &c.Reason)
}

func (w *wire) revokeSession(c *locktable.RevokeSession) {
	number(w, 1, &c.Session)
	w.string(2, &c.Reason)
}

func (w *wire) setLimits(c *locktable.SetLimits) {
	number(w, 1, &c.Limits.WaitersPerName)
	number(w, 2, &c.Limits.GrantsPerSession)
	number(w, 3, &c.Limits.SessionsPerPrincipal)
}

func (w *wire) setSemantics(c *locktable.SetSemantics) { number(w, 1, &c.Version) }

func (w *wire) raiseEpoch(c *locktable.RaiseEpoch) { number(w, 1, &c.Epoch) }

// slabs are the memory of the commands of an entry: one piece for many of a kind.
type slabs struct {
	left          int // commands that are still to be read
	openSession   slab[locktable.OpenSession]
	renewSession  slab[locktable.RenewSession]
	closeSession  slab[locktable.CloseSession]
	acquire       slab[locktable.Acquire]
	release       slab[locktable.Release]
	convert       slab[locktable.Convert]
	renew         slab[locktable.Renew]
	cancel        slab[locktable.Cancel]
	revokeGrant   slab[locktable.RevokeGrant]
	revokeSession slab[locktable.RevokeSession]
	claims        slab[locktable.Claim]
}

type slab[T any] []T

// slabMost bounds a slab: large pieces of memory are dearer than a few more of them.
const slabMost = 64

// cut gives the next n; about left more will be wanted.
func (s *slab[T]) cut(n, left int) []T {
	if n > len(*s) {
		*s = make([]T, max(n, min(left, slabMost)))
	}
	piece := (*s)[:n:n]
	*s = (*s)[n:]
	return piece
}
