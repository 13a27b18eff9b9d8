package loadgen

import (
	"context"
	"errors"
	"strings"
	"testing"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

// lockStub is a lock that somebody holds, or has lost.
type lockStub struct {
	token int64
	lost  error
}

func (l *lockStub) Token() int64                  { return l.token }
func (l *lockStub) Check() error                  { return l.lost }
func (l *lockStub) Release(context.Context) error { return nil }

// wantViolations compares what was found with parts of sentences, one for each.
func wantViolations(t *testing.T, v *violations, want ...string) {
	t.Helper()
	if v.count != int64(len(want)) {
		t.Fatalf("%d violations: %q, want %q", v.count, v.examples, want)
	}
	for i, part := range want {
		if !strings.Contains(v.examples[i], part) {
			t.Errorf("violation %q, want %q in it", v.examples[i], part)
		}
	}
}

func TestHoldersThatFollowEachOtherAreRight(t *testing.T) {
	v := &violations{}
	n := &name{text: "a", bad: v}
	for token := range int64(5) {
		l := &lockStub{token: token + 1}
		n.granted(l)
		n.releasing(l)
	}
	wantViolations(t, v)
	if n.grants != 5 {
		t.Errorf("%d grants, want 5", n.grants)
	}
}

func TestATokenThatDoesNotRiseIsFound(t *testing.T) {
	v := &violations{}
	n := &name{text: "a", bad: v}
	for _, token := range []int64{7, 7, 6} {
		l := &lockStub{token: token}
		n.granted(l)
		n.releasing(l)
	}
	wantViolations(t, v, "a was granted with token 7 after token 7", "token 6 after token 7")
}

func TestASecondHolderIsFound(t *testing.T) {
	v := &violations{}
	n := &name{text: "a", bad: v}
	first, second := &lockStub{token: 1}, &lockStub{token: 2}
	n.granted(first)
	n.granted(second)
	n.releasing(first)
	n.releasing(second)
	wantViolations(t, v, "a was granted with token 2 while token 1 is still held",
		"token 1 is about to be released while token 2 holds it")
}

func TestTheNextHolderOfALostLockIsNoViolation(t *testing.T) {
	v := &violations{}
	n := &name{text: "a", bad: v}
	first, second := &lockStub{token: 1}, &lockStub{token: 2}
	n.granted(first)
	first.lost = errors.New("lost")
	n.granted(second)
	n.releasing(first)
	n.releasing(second)
	wantViolations(t, v)
}

func TestOnlySomeViolationsAreTold(t *testing.T) {
	v := &violations{}
	for range 100 {
		v.add("bad")
	}
	if v.count != 100 || len(v.examples) != examplesMost {
		t.Errorf("%d counted, %d told", v.count, len(v.examples))
	}
}

// told feeds events to the check of order: "q1" is the arrival of request 1, "g1" its grant, "r1" that
// grant's release, "c1" the request's cancellation, and "e1" the end of its grant by time.
func told(o *order, events string) {
	for _, e := range strings.Fields(events) {
		event := holdfast.LockEvent{SessionID: 9, RequestID: uint64(e[1] - '0'), GrantID: int64(e[1]-'0') + 100}
		switch e[0] {
		case 'q':
			event.Kind, event.GrantID = holdfast.EventQueued, 0
		case 'c':
			event.Kind, event.GrantID = holdfast.EventCancelled, 0
		case 'g':
			event.Kind, event.Token = holdfast.EventGranted, o.token+1
		case 'r':
			event.Kind = holdfast.EventReleased
		case 'e':
			event.Kind = holdfast.EventExpired
		}
		o.event(event)
	}
}

func TestOrderOfGrants(t *testing.T) {
	for _, c := range []struct {
		about, events string
		want          []string
	}{
		{"in the order of arrival", "g1 q2 q3 r1 g2 q4 e2 g3 r3 g4 r4 g5", nil},
		{"a waiter that went away", "g1 q2 q3 q4 c3 r1 g2 r2 g4", nil},
		{"the second before the first", "g1 q2 q3 r1 g3 r3 g2",
			[]string{"request 3 of session 9, which 1 had been waiting longer than"}},
		{"the last before all", "g1 q2 q3 q4 r1 g4 r4 g2 r2 g3", []string{"request 4 of session 9, which 2"}},
		{"one that never waited", "g1 q2 r1 g3 r3 g2", []string{"request 3 of session 9 at once while 1 waited"}},
		{"a second holder", "g1 q2 g2 r2", []string{"grant 102 was given while grant 101 holds it"}},
		{"a release that comes twice", "g1 r1 q2 r1", []string{"grant 101 ended while grant 0 holds it"}},
		{"a release of another's grant", "g1 r2", []string{"grant 102 ended while grant 101 holds it"}},
	} {
		v := &violations{}
		o := &order{text: "a", bad: v, known: true}
		told(o, c.events)
		t.Run(c.about, func(t *testing.T) { wantViolations(t, v, c.want...) })
	}
}

func TestTokensOfEventsMustRise(t *testing.T) {
	v := &violations{}
	o := &order{text: "a", bad: v, known: true}
	o.event(holdfast.LockEvent{Kind: holdfast.EventGranted, RequestID: 1, GrantID: 1, Token: 5})
	o.event(holdfast.LockEvent{Kind: holdfast.EventReleased, GrantID: 1})
	o.event(holdfast.LockEvent{Kind: holdfast.EventGranted, RequestID: 2, GrantID: 2, Token: 5})
	wantViolations(t, v, "token 5 was given after token 5")
}

func TestAfterMissedEventsOnlyWhatWasSeenIsJudged(t *testing.T) {
	v := &violations{}
	o := &order{text: "a", bad: v, known: true}
	told(o, "g1 q2 q3")
	o.missed() // the release of 1 among them, and the arrival of 4
	told(o, "q5 r2 g4 r4 q6 g3 r3")
	wantViolations(t, v)
	told(o, "g6")
	wantViolations(t, v, "request 6 of session 9, which 1")
}
