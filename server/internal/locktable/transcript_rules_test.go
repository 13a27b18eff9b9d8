package locktable_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// rules are promises about every entry, whatever the transcript is about.
type rules struct {
	waiting map[locktable.Index]locktable.Event // HF-4.2: requests without a final outcome
	granted map[locktable.GrantID]bool          // grants that have not ended
	ended   map[locktable.SessionID]bool        // sessions that have
	highest locktable.Token                     // HF-6.1
}

func newRules() rules {
	return rules{
		waiting: map[locktable.Index]locktable.Event{},
		granted: map[locktable.GrantID]bool{},
		ended:   map[locktable.SessionID]bool{},
	}
}

// keep checks the effects of a batch that was applied when cluster time was before.
func (r rules) check(batch locktable.Batch, before locktable.Millis, effects locktable.Effects) error {
	if effects.Index != batch.Index || effects.Time != max(before, batch.Stamp) {
		return fmt.Errorf("effects of index %d at %d", effects.Index, effects.Time)
	}
	if len(effects.Results) != len(batch.Commands) {
		return fmt.Errorf("%d results", len(effects.Results))
	}
	for i, result := range effects.Results {
		if at := (locktable.Index{Entry: batch.Index, Offset: uint32(i)}); result.At != at {
			return fmt.Errorf("result %d is at %v (HF-2.9)", i, result.At)
		}
		if err := r.answer(batch.Commands[i], result, effects.Events); err != nil {
			return fmt.Errorf("result %d: %w", i, err)
		}
	}
	return nil
}

func (r *rules) keep(batch locktable.Batch, before locktable.Millis, effects locktable.Effects) error {
	if err := r.check(batch, before, effects); err != nil {
		return err
	}
	last := locktable.Index{Entry: batch.Index}
	for i, e := range effects.Events {
		if e.At.Entry != batch.Index || e.At.Offset < last.Offset {
			return fmt.Errorf("event %d is at %v after %v (HF-2.9)", i, e.At, last)
		}
		last = e.At
		if err := r.event(e); err != nil {
			return fmt.Errorf("event %d, %s: %w", i, happening(e), err)
		}
	}
	return nil
}

// answer sees that an answer which began or changed something has its event.
func (r rules) answer(c locktable.Command, result locktable.Result, events []locktable.Event) error {
	kinds := map[locktable.Outcome][]locktable.EventKind{
		locktable.Queued: {locktable.EventQueued},
		locktable.Granted: {
			locktable.EventGranted, locktable.EventConverted, locktable.EventOutcome,
		},
	}[result.Outcome]
	if kinds == nil || result.First != 0 {
		return nil
	}
	if convert, ok := c.(*locktable.Convert); ok && result.Outcome == locktable.Granted {
		if same := result.Grant.ID == convert.Grant; !same {
			return errors.New("a conversion granted another grant")
		}
		return nil
	}
	found := slices.ContainsFunc(events, func(e locktable.Event) bool {
		return slices.Contains(kinds, e.Kind) && e.Session == result.Session &&
			(result.Outcome == locktable.Granted || e.Arrival == result.Arrival)
	})
	_, known := r.waiting[result.Arrival]
	if !found && !known {
		return fmt.Errorf("no event tells of %s", sentence(c, result))
	}
	return nil
}

func (r *rules) event(e locktable.Event) error {
	switch e.Kind {
	case locktable.EventQueued:
		for arrival, w := range r.waiting {
			if arrival == e.Arrival || e.Request != 0 && w.Session == e.Session && w.Request == e.Request {
				return errors.New("queued twice (HF-7.1)")
			}
		}
		r.waiting[e.Arrival] = e
		return nil
	case locktable.EventOutcome:
		was, ok := r.waiting[e.Arrival]
		if !ok {
			return errors.New("an outcome of nothing that waits (HF-4.2)")
		}
		delete(r.waiting, e.Arrival)
		if was.Session != e.Session || was.Owner != e.Owner || was.Request != e.Request ||
			was.Converts != e.Converts || !slices.Equal(was.Claims, e.Claims) {
			return fmt.Errorf("the request was %+v", was)
		}
		if e.Outcome == locktable.Granted {
			return r.grant(e)
		}
	case locktable.EventGranted, locktable.EventConverted:
		return r.grant(e)
	case locktable.EventGrantEnded:
		if !r.granted[e.Grant.ID] {
			return errors.New("a grant ended that was not there")
		}
		delete(r.granted, e.Grant.ID)
	case locktable.EventSessionEnded:
		if r.ended[e.Session] {
			return errors.New("a session ended twice")
		}
		r.ended[e.Session] = true
	}
	return nil
}

// grant checks a grant that is new, re-entered or converted (HF-6.1, HF-6.3).
func (r *rules) grant(e locktable.Event) error {
	g := e.Grant
	fresh := int64(g.Token) == int64(g.ID) && !r.granted[g.ID]
	switch {
	case g.ID <= 0 || g.Token <= 0:
		return fmt.Errorf("grant %d with token %d", g.ID, g.Token)
	case !fresh && !r.granted[g.ID]:
		return errors.New("a new grant whose token is not its id")
	case fresh && g.Token <= r.highest:
		return fmt.Errorf("a new token at or below %d", r.highest)
	}
	r.granted[g.ID] = true
	r.highest = max(r.highest, g.Token)
	return nil
}

// told tells whether an event says no more than the answer to the command that caused it.
func told(results []locktable.Result, commands []locktable.Command, e locktable.Event) bool {
	if int(e.At.Offset) >= len(results) {
		return false
	}
	r, c := results[e.At.Offset], commands[e.At.Offset]
	switch e.Kind {
	case locktable.EventQueued:
		return true
	case locktable.EventOutcome:
		return e.Arrival == e.At && e.Outcome == r.Outcome
	case locktable.EventGranted, locktable.EventConverted:
		return r.Outcome == locktable.Granted && r.Grant.ID == e.Grant.ID
	case locktable.EventGrantEnded:
		release, ok := c.(*locktable.Release)
		return ok && release.Grant == e.Grant.ID && r.Outcome == locktable.Done
	case locktable.EventSessionEnded:
		end, ok := c.(*locktable.CloseSession)
		return ok && end.Session == e.Session && r.Outcome == locktable.Done
	}
	return false
}
