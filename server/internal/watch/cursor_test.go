package watch

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

func TestCursorsOfAnotherHistoryAreCompacted(t *testing.T) {
	f, other := newFeed(t, Config{}), New(Config{})
	f.events(outcomeOf(7, 1))
	cursor := f.session(7, "").Cursor()
	other.Restored(History{ClusterID: "c2"}, 1)
	if _, err := other.Session(7, cursor); !errors.Is(err, ErrCompacted) {
		t.Errorf("another cluster: %v", err)
	}
	f.batch(&locktable.RaiseEpoch{Epoch: 3})
	if _, err := f.Session(7, cursor); !errors.Is(err, ErrCompacted) {
		t.Errorf("before a restore: %v", err)
	}
	if s := f.session(7, f.session(7, "").Cursor()); s.hub.history.Epoch != 3 {
		t.Errorf("%+v", s.hub.history)
	}
}

func TestMalformedCursors(t *testing.T) {
	f := newFeed(t, Config{})
	good := f.session(7, "").Cursor()
	for _, cursor := range []string{"!", "AA", "AQ", good[:4], "Ag" + good[2:], good + "=", strings.Repeat("A", 1<<16)} {
		if _, err := f.Session(7, cursor); !errors.Is(err, ErrCursor) {
			t.Errorf("%.20q: %v", cursor, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add((&History{ClusterID: "c1", Epoch: 7}).cursor(place{12, 34}))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		history, at, err := parseCursor(s)
		if err != nil {
			return
		}
		again, at2, err := parseCursor(history.cursor(at))
		if err != nil || again != history || at2 != at {
			t.Errorf("%q: %+v %+v became %+v %+v, %v", s, history, at, again, at2, err)
		}
	})
}
