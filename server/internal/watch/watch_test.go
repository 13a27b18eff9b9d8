package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// feed is a hub and the log that it sees.
type feed struct {
	*testing.T
	*Hub
	index uint64
}

func newFeed(t *testing.T, cfg Config) *feed {
	f := &feed{T: t, Hub: New(cfg)}
	f.batch(&locktable.Bootstrap{ClusterID: "c1"})
	return f
}

// batch applies a command, or none, with events.
func (f *feed) batch(command locktable.Command, events ...locktable.Event) {
	f.index++
	a := proposer.Applied{Effects: locktable.Effects{Index: f.index, Time: int64(f.index) * 10, Events: events}}
	if command != nil {
		a.Commands = []locktable.Command{command}
		a.Effects.Results = []locktable.Result{{Outcome: locktable.Done}}
	}
	f.Applied(a)
}

func (f *feed) events(events ...locktable.Event) { f.batch(nil, events...) }

func outcomeOf(session locktable.SessionID, request uint64, names ...string) locktable.Event {
	e := locktable.Event{
		Kind: locktable.EventOutcome, Namespace: "default", Session: session, Request: request,
		Outcome: locktable.Granted,
	}
	for _, name := range names {
		e.Claims = append(e.Claims, locktable.Claim{Name: name, Mode: locktable.X})
	}
	return e
}

func grantedAt(names ...string) locktable.Event {
	e := outcomeOf(1, 1, names...)
	e.Kind = locktable.EventGranted
	return e
}

func (f *feed) session(id locktable.SessionID, cursor string) *Subscription {
	f.Helper()
	s, err := f.Session(id, cursor)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

func (f *feed) prefix(prefix, cursor string) *Subscription {
	f.Helper()
	s, err := f.Prefix("default", prefix, cursor)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// have reads what there is without waiting.
func have(t *testing.T, s *Subscription) (items []Item) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		more, err := s.Next(ctx)
		if errors.Is(err, context.Canceled) {
			return items
		}
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, more...)
	}
}

func requests(items []Item) (ids []uint64) {
	for _, i := range items {
		ids = append(ids, i.Event.Request)
	}
	return ids
}

func firstNames(items []Item) (names []string) {
	for _, i := range items {
		names = append(names, i.Event.Claims[0].Name)
	}
	return names
}

func wantErr(t *testing.T, s *Subscription, want error) {
	t.Helper()
	for {
		items, err := s.Next(t.Context())
		if err == nil {
			t.Logf("first %d events", len(items))
			continue
		}
		if !errors.Is(err, want) {
			t.Fatalf("error is %v, want %v", err, want)
		}
		return
	}
}

func TestASessionHearsItsOwn(t *testing.T) {
	f := newFeed(t, Config{})
	s := f.session(7, "")
	defer s.Close()
	released := grantedAt("x")
	released.Kind, released.Session, released.Ended = locktable.EventGrantEnded, 7, locktable.Released
	expired := released
	expired.Ended, expired.Request = locktable.LeasePassed, 2
	other := outcomeOf(8, 3, "x")
	end := locktable.Event{Kind: locktable.EventSessionEnded, Namespace: "default", Session: 7, Request: 9}
	f.events(outcomeOf(7, 1, "x"), released, expired, other)
	f.events(end)
	items := have(t, s)
	if got := requests(items); !slices.Equal(got, []uint64{1, 2, 9}) {
		t.Errorf("heard %v", got)
	}
	if items[0].Time != 20 || items[2].Time != 30 || items[0].History.ClusterID != "c1" {
		t.Errorf("%+v", items[0])
	}
}

// HF-1.3
func TestAPrefixIsWholeSegments(t *testing.T) {
	f := newFeed(t, Config{})
	all, orders, one := f.prefix("", ""), f.prefix("orders", ""), f.prefix("orders/42", "")
	elsewhere, err := f.Prefix("other", "", "")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"orders", "orders/42", "orders/42/line", "orders/421", "ordersx", "a/orders/42"}
	for _, name := range names {
		f.events(grantedAt(name))
	}
	f.events(grantedAt("a", "orders/42", "orders/42/line", "orders/43"))
	for _, c := range []struct {
		s    *Subscription
		want []string
	}{
		{all, append(slices.Clone(names), "a")},
		{orders, []string{"orders", "orders/42", "orders/42/line", "orders/421", "a"}},
		{one, []string{"orders/42", "orders/42/line", "a"}},
		{elsewhere, nil},
	} {
		if got := firstNames(have(t, c.s)); !slices.Equal(got, c.want) {
			t.Errorf("below %q: %v, want %v", c.s.prefix, got, c.want)
		}
		again, err := f.Prefix(c.s.namespace, c.s.prefix, f.startCursor())
		if err != nil {
			t.Fatal(err)
		}
		if got := firstNames(have(t, again)); !slices.Equal(got, c.want) {
			t.Errorf("below %q, read again from the ring: %v, want %v", c.s.prefix, got, c.want)
		}
	}
}

func (f *feed) startCursor() string { return f.history.cursor(place{}) }

func TestADeadlockIsSeenWhereItsNamesAre(t *testing.T) {
	f := newFeed(t, Config{})
	s, other := f.prefix("b", ""), f.prefix("c", "")
	f.events(locktable.Event{
		Kind: locktable.EventDeadlock, Namespace: "default",
		Cycle: []locktable.CycleStep{{Name: "a/1"}, {Name: "b/2"}},
	})
	if len(have(t, s)) != 1 || len(have(t, other)) != 0 {
		t.Error("it was not seen, or seen elsewhere")
	}
}

// HF-9.3
func TestResumingMissesNothing(t *testing.T) {
	f := newFeed(t, Config{})
	s := f.session(7, "")
	f.events(outcomeOf(7, 1), outcomeOf(7, 2), outcomeOf(8, 1), outcomeOf(7, 3))
	first := have(t, s)[0] // the stream breaks after one message
	s.Close()
	f.events(outcomeOf(7, 4))
	s = f.session(7, first.Cursor())
	defer s.Close()
	f.events(outcomeOf(7, 5))
	if got := requests(have(t, s)); !slices.Equal(got, []uint64{2, 3, 4, 5}) {
		t.Errorf("after 1 came %v", got)
	}
	if got := requests(have(t, f.session(7, s.Cursor()))); got != nil {
		t.Errorf("after everything came %v", got)
	}
}

func TestResumingAtANodeThatIsBehind(t *testing.T) {
	ahead, behind := newFeed(t, Config{}), newFeed(t, Config{})
	s := ahead.session(7, "")
	for i := range uint64(3) {
		ahead.events(outcomeOf(7, i))
	}
	behind.events(outcomeOf(7, 0))
	cursor := have(t, s)[1].Cursor()
	s = behind.session(7, cursor)
	behind.events(outcomeOf(7, 1))
	behind.events(outcomeOf(7, 2))
	if got := requests(have(t, s)); !slices.Equal(got, []uint64{2}) {
		t.Errorf("got %v, want what the other node had not given yet", got)
	}
}

func TestAnIdleCursorMovesOn(t *testing.T) {
	f := newFeed(t, Config{EventsMax: 16})
	s := f.session(7, "")
	for range 100 {
		f.events(outcomeOf(8, 1))
	}
	if _, err := f.Session(7, s.Cursor()); err != nil {
		t.Errorf("a cursor given this moment: %v", err)
	}
}

func TestASlowReaderIsToldWhatItMissed(t *testing.T) {
	for _, cfg := range []Config{{EventsMax: 64}, {BytesMax: 64 * 80}} {
		f := newFeed(t, cfg)
		slow, idle := f.session(7, ""), f.session(9, "")
		locks := f.prefix("orders", "")
		f.events(outcomeOf(7, 1, "orders/1"))
		cursor := f.startCursor()
		for i := range uint64(1000) {
			f.events(outcomeOf(7, i, "orders/1"))
		}
		if n := f.lives.to - f.lives.from; n > 80 {
			t.Errorf("%d events are kept", n)
		}
		wantErr(t, slow, ErrCompacted)
		wantErr(t, slow, ErrCompacted)
		wantErr(t, locks, ErrCompacted)
		if got := have(t, idle); len(got) != 0 {
			t.Errorf("%v", got)
		}
		if _, err := f.Session(7, cursor); !errors.Is(err, ErrCompacted) {
			t.Errorf("an old cursor: %v", err)
		}
		f.events(outcomeOf(9, 5))
		if got := requests(have(t, idle)); !slices.Equal(got, []uint64{5}) {
			t.Errorf("one that nothing concerned missed what did: %v", got)
		}
	}
}

// A busy lock must not push out what sessions will ask for.
func TestSessionsKeepTheirEventsBesideBusyLocks(t *testing.T) {
	f := newFeed(t, Config{EventsMax: 64})
	s := f.session(7, "")
	cursor := s.Cursor()
	s.Close()
	f.events(outcomeOf(7, 1, "orders/1"))
	for range 1000 {
		f.events(grantedAt("orders/1"))
	}
	if got := requests(have(t, f.session(7, cursor))); !slices.Equal(got, []uint64{1}) {
		t.Errorf("got %v", got)
	}
}

func TestASnapshotIsAGap(t *testing.T) {
	f := newFeed(t, Config{})
	live, behind := f.session(7, ""), f.session(7, f.startCursor())
	cursor := live.Cursor()
	f.Restored(History{ClusterID: "c1", Epoch: 0}, 500)
	wantErr(t, live, ErrCompacted)
	wantErr(t, behind, ErrCompacted)
	if _, err := f.Session(7, cursor); !errors.Is(err, ErrCompacted) {
		t.Errorf("%v", err)
	}
	fresh := f.session(7, "") // beside those who do not know yet
	f.index = 500
	f.events(outcomeOf(7, 1))
	if got := requests(have(t, fresh)); !slices.Equal(got, []uint64{1}) {
		t.Errorf("got %v", got)
	}
	if got := requests(have(t, f.session(7, f.history.cursor(place{500, wholeBatch})))); !slices.Equal(got, []uint64{1}) {
		t.Errorf("from the snapshot on: %v", got)
	}
}

func TestCloseEndsSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, Config{})
		s, catchingUp := f.session(7, ""), f.session(7, f.startCursor())
		done := make(chan error)
		go func() {
			_, err := s.Next(t.Context())
			done <- err
		}()
		synctest.Wait()
		f.Hub.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
		wantErr(t, catchingUp, ErrClosed)
		if _, err := f.Session(7, ""); !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestOnlyThoseConcernedAreWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, Config{})
		const sessions = 1000
		woken := make([]int, sessions)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range woken {
			s := f.session(locktable.SessionID(i+1), "")
			all.Go(func() {
				defer s.Close()
				for {
					items, err := s.Next(ctx)
					if err != nil {
						return
					}
					woken[i] += len(items)
				}
			})
		}
		synctest.Wait()
		event := outcomeOf(5, 1)
		if found := f.Hub.sessions[event.Session]; found == nil || len(found.subs) != 1 {
			t.Errorf("an event of one of %d sessions concerns %+v", sessions, found)
		}
		f.events(event)
		synctest.Wait()
		cancel()
		all.Wait()
		if woken[4] != 1 {
			t.Errorf("it read %d events", woken[4])
		}
		if len(f.Hub.sessions) != 0 {
			t.Errorf("%d topics are left", len(f.Hub.sessions))
		}
	})
}

// A reader whose wait ended just as it was woken leaves a wake-up behind. It must not block the
// goroutine that applies the log when it goes to sleep again.
func TestAStaleWakeUpBlocksNobody(t *testing.T) {
	f := newFeed(t, Config{})
	s := f.session(7, "")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range uint64(10) {
		if _, err := s.Next(gone); !errors.Is(err, context.Canceled) && err != nil {
			t.Fatal(err)
		}
		f.events(outcomeOf(7, i))
		if _, err := s.read(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.read(); err != nil { // asleep again, and the alarm has rung
			t.Fatal(err)
		}
		f.events(outcomeOf(7, i))
	}
}

// Readers of all kinds come and go while events come: each gets exactly what it asked for, in
// order, or is told that something is missing.
func TestReadersGetAllOrAreTold(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			f := newFeed(t, Config{EventsMax: 100 + rng.IntN(400)})
			var log []locktable.Event
			var mu sync.Mutex
			compacted, complete := 0, 0
			var all sync.WaitGroup
			stop, cancel := context.WithCancel(t.Context())
			for i := range 20 {
				pauses := rng.IntN(20)
				resume := rng.IntN(10) + 1
				all.Go(func() {
					lost, got, from := f.reader(stop, i, pauses, resume)
					mu.Lock()
					defer mu.Unlock()
					if lost {
						compacted++
						return
					}
					complete++
					var want []string
					for _, e := range log {
						if e.At.Entry >= from && concerns(i, &e) {
							want = append(want, fmt.Sprint(e.At))
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("seed %d, reader %d: %d events, want %d", seed, i, len(got), len(want))
					}
				})
			}
			synctest.Wait()
			for range 600 {
				var batch []locktable.Event
				for n := range rng.IntN(4) {
					e := outcomeOf(locktable.SessionID(rng.IntN(5)), 1, fmt.Sprintf("a/%d/x", rng.IntN(5)))
					e.At = locktable.Index{Entry: f.index + 1, Offset: uint32(n)}
					batch = append(batch, e)
				}
				log = append(log, batch...)
				f.events(batch...)
				time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond)
			}
			time.Sleep(time.Second)
			cancel()
			all.Wait()
			if complete == 0 {
				t.Errorf("seed %d: nobody kept up (%d compacted)", seed, compacted)
			}
		})
	}
}

func concerns(reader int, e *locktable.Event) bool {
	if reader%2 == 0 {
		return e.Session == locktable.SessionID(1+reader%4)
	}
	return below(e.Claims[0].Name, fmt.Sprintf("a/%d", reader%5))
}

// reader reads with pauses, and resumes by cursor now and then.
func (f *feed) reader(stop context.Context, kind, pauses, resume int) (lost bool, got []string, from uint64) {
	begin := func(cursor string) (*Subscription, error) {
		if kind%2 == 0 {
			return f.Session(locktable.SessionID(1+kind%4), cursor)
		}
		return f.Prefix("default", fmt.Sprintf("a/%d", kind%5), cursor)
	}
	s, err := begin("")
	from = s.seen.index + 1
	for n := 1; err == nil; n++ {
		var items []Item
		items, err = s.Next(stop)
		for _, item := range items {
			got = append(got, fmt.Sprint(item.Event.At))
		}
		if err == nil && n%resume == 0 {
			cursor := s.Cursor()
			if kind%3 == 0 {
				cursor = items[len(items)-1].Cursor()
			}
			s.Close()
			time.Sleep(time.Duration(pauses) * time.Millisecond)
			s, err = begin(cursor)
		}
	}
	if s != nil {
		s.Close()
	}
	return errors.Is(err, ErrCompacted), got, from
}
