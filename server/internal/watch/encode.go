package watch

import (
	"encoding/binary"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Parts of an event that most events do not have.
const (
	withGrant  = 1 << iota // Grant
	withClaims             // Claims, unless they are those of the grant
	sameClaims             // Claims are those of the grant
	withCycle              // Cycle and Victim
	withWords              // Ended and Detail
)

// appendEvent writes an event as a ring keeps it. What is written is read by the same program only.
func appendEvent(b []byte, e *locktable.Event) []byte {
	parts := partsOf(e)
	b = append(b, byte(e.Kind), byte(parts), byte(e.Outcome))
	b = appendIndex(b, e.At)
	b = appendIndex(b, e.Arrival)
	b = binary.AppendUvarint(b, uint64(e.Session))
	b = binary.AppendUvarint(b, e.Request)
	b = binary.AppendUvarint(b, uint64(e.Converts))
	b = appendText(b, e.Namespace)
	b = appendText(b, e.Owner)
	if parts&withGrant != 0 {
		g := &e.Grant
		b = binary.AppendUvarint(b, uint64(g.ID))
		b = binary.AppendUvarint(b, uint64(g.Token))
		b = binary.AppendUvarint(b, uint64(g.Depth))
		b = binary.AppendUvarint(b, uint64(g.Deadlines.Session))
		b = binary.AppendUvarint(b, uint64(g.Deadlines.Lease))
		b = binary.AppendUvarint(b, uint64(g.Deadlines.MaxHold))
		b = appendClaims(b, g.Claims)
	}
	if parts&withClaims != 0 {
		b = appendClaims(b, e.Claims)
	}
	if parts&withWords != 0 {
		b = append(b, byte(e.Ended))
		b = appendText(b, e.Detail)
	}
	if parts&withCycle != 0 {
		b = appendIndex(b, e.Victim)
		b = appendCycle(b, e.Cycle)
	}
	return b
}

func partsOf(e *locktable.Event) (parts int) {
	g := &e.Grant
	if g.ID != 0 || g.Token != 0 || g.Depth != 0 || g.Deadlines != (locktable.Deadlines{}) || len(g.Claims) > 0 {
		parts |= withGrant
	}
	switch {
	case len(e.Claims) == 0:
	case len(e.Claims) == len(g.Claims) && &e.Claims[0] == &g.Claims[0]:
		parts |= sameClaims
	default:
		parts |= withClaims
	}
	if e.Ended != 0 || e.Detail != "" {
		parts |= withWords
	}
	if len(e.Cycle) > 0 || e.Victim != (locktable.Index{}) {
		parts |= withCycle
	}
	return parts
}

func appendIndex(b []byte, i locktable.Index) []byte {
	b = binary.AppendUvarint(b, i.Entry)
	return binary.AppendUvarint(b, uint64(i.Offset))
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendClaims(b []byte, claims []locktable.Claim) []byte {
	b = binary.AppendUvarint(b, uint64(len(claims)))
	for i := range claims {
		b = append(b, byte(claims[i].Mode))
		b = appendText(b, claims[i].Name)
	}
	return b
}

func appendCycle(b []byte, cycle []locktable.CycleStep) []byte {
	b = binary.AppendUvarint(b, uint64(len(cycle)))
	for i := range cycle {
		s := &cycle[i]
		b = binary.AppendUvarint(b, uint64(s.Session))
		b = appendText(b, s.Owner)
		b = binary.AppendUvarint(b, s.Request)
		b = appendIndex(b, s.Arrival)
		b = append(b, byte(s.Mode))
		b = appendText(b, s.Name)
	}
	return b
}

// eventReader reads what appendEvent wrote.
type eventReader struct {
	data []byte
	text string // the same, so that all texts of an event share one allocation
}

// readEvent reads an event; it shares nothing with the ring.
func readEvent(data []byte) (e locktable.Event) {
	r := eventReader{data: data, text: string(data)}
	e.Kind = locktable.EventKind(r.byte())
	parts := r.byte()
	e.Outcome = locktable.Outcome(r.byte())
	e.At, e.Arrival = r.index(), r.index()
	e.Session, e.Request = locktable.SessionID(r.number()), r.number()
	e.Converts = locktable.GrantID(r.number())
	e.Namespace, e.Owner = r.string(), r.string()
	if parts&withGrant != 0 {
		g := &e.Grant
		g.ID, g.Token = locktable.GrantID(r.number()), locktable.Token(r.number())
		g.Depth = uint32(r.number())
		g.Deadlines.Session = locktable.Millis(r.number())
		g.Deadlines.Lease = locktable.Millis(r.number())
		g.Deadlines.MaxHold = locktable.Millis(r.number())
		g.Claims = r.claims()
	}
	switch {
	case parts&sameClaims != 0:
		e.Claims = e.Grant.Claims
	case parts&withClaims != 0:
		e.Claims = r.claims()
	}
	if parts&withWords != 0 {
		e.Ended, e.Detail = locktable.EndReason(r.byte()), r.string()
	}
	if parts&withCycle != 0 {
		e.Victim, e.Cycle = r.index(), r.cycle()
	}
	return e
}

func (r *eventReader) byte() byte {
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *eventReader) number() (v uint64) {
	v, r.data = readNumber(r.data)
	return v
}

func readNumber(data []byte) (uint64, []byte) {
	v, n := binary.Uvarint(data)
	return v, data[n:]
}

func (r *eventReader) index() locktable.Index {
	return locktable.Index{Entry: r.number(), Offset: uint32(r.number())}
}

func (r *eventReader) string() string {
	n := int(r.number())
	at := len(r.text) - len(r.data)
	r.data = r.data[n:]
	return r.text[at : at+n]
}

func (r *eventReader) claims() []locktable.Claim {
	n := r.number()
	if n == 0 {
		return nil
	}
	claims := make([]locktable.Claim, n)
	for i := range claims {
		claims[i].Mode = locktable.Mode(r.byte())
		claims[i].Name = r.string()
	}
	return claims
}

func (r *eventReader) cycle() []locktable.CycleStep {
	n := r.number()
	if n == 0 {
		return nil
	}
	cycle := make([]locktable.CycleStep, n)
	for i := range cycle {
		s := &cycle[i]
		s.Session, s.Owner = locktable.SessionID(r.number()), r.string()
		s.Request, s.Arrival = r.number(), r.index()
		s.Mode, s.Name = locktable.Mode(r.byte()), r.string()
	}
	return cycle
}
