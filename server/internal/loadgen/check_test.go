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

// told feeds events to the check of order: "q1" is the arrival of request 1, "g1" its grant, "c1" its
// cancellation.
func told(o *order, events string) {
	for _, e := range strings.Fields(events) {
		request := uint64(e[1] - '0')
		event := holdfast.LockEvent{SessionID: 9, RequestID: request}
		switch e[0] {
		case 'q':
			event.Kind = holdfast.EventQueued
		case 'c':
			event.Kind = holdfast.EventCancelled
		case 'g':
			event.Kind, event.Token = holdfast.EventGranted, o.token+1
		}
		o.event(event)
	}
}

func TestOrderOfGrants(t *testing.T) {
	for _, c := range []struct {
		about, events string
		want          []string
	}{
		{"grants in the order of arrival", "g1 q2 q3 g2 q4 g3 g4 g5", nil},
		{"a waiter that went away", "g1 q2 q3 q4 c3 g2 g4", nil},
		{"the second before the first", "g1 q2 q3 g3 g2", []string{"request 3 of session 9, which 1 had been waiting longer than"}},
		{"the last before all", "g1 q2 q3 q4 g4 g2 g3", []string{"request 4 of session 9, which 2"}},
		{"one that never waited", "g1 q2 g3 g2", []string{"request 3 of session 9 at once while 1 waited"}},
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
	o.event(holdfast.LockEvent{Kind: holdfast.EventGranted, RequestID: 1, Token: 5})
	o.event(holdfast.LockEvent{Kind: holdfast.EventGranted, RequestID: 2, Token: 5})
	wantViolations(t, v, "token 5 was given after token 5")
}

func TestAfterMissedEventsOnlyWhatWasSeenIsJudged(t *testing.T) {
	v := &violations{}
	o := &order{text: "a", bad: v}
	told(o, "q5 g2 q6 g3") // 2 and 3 had arrived before
	wantViolations(t, v)
	told(o, "g6")
	wantViolations(t, v, "request 6 of session 9, which 1")
}
