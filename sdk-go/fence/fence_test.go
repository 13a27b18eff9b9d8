package fence

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// step is one access and whether it is admitted.
type step struct {
	token  int64
	access Access
	ok     bool
}

// HF-6.4 and HF-11.4, access by access: the rule for every helper below.
var rule = []step{
	{5, Write, true},
	{5, Write, true},  // the holder goes on writing
	{4, Write, false}, // somebody who held it before
	{4, Read, false},
	{6, Read, true},   // a reader that was granted later
	{5, Write, false}, // the writer from before that reader is too old now
	{5, Read, true},   // but it may read what it wrote itself
	{7, Write, true},
	{6, Read, false},
	{0, Write, false}, // no token at all
	{-1, Read, false},
}

func check(t *testing.T, f func(token int64, access Access) error) {
	t.Helper()
	for i, s := range rule {
		err := f(s.token, s.access)
		if s.ok && err != nil || !s.ok && !errors.Is(err, ErrStale) {
			t.Errorf("step %d, token %d: %v", i, s.token, err)
		}
	}
}

// HF-11.4, HF-6.4: a resource refuses what is older than what it has seen.
func TestGuard(t *testing.T) {
	var g Guard
	check(t, func(token int64, a Access) error { return g.Check("r", token, a) })
	if err := g.Check("other", 1, Write); err != nil {
		t.Errorf("another resource: %v", err)
	}
}

func TestMarkText(t *testing.T) {
	m := Mark{Seen: 1<<63 - 1, Written: 7}
	if got, err := ParseMark(m.String()); got != m || err != nil {
		t.Error(got, err)
	}
	for _, bad := range []string{"7", "a b", "1 2 3"} {
		if _, err := ParseMark(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

type memory struct {
	mu      sync.Mutex
	value   string
	version int
	refuse  int // so many puts lose a race
}

func (m *memory) Get(context.Context, string) (value, version string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.value, strconv.Itoa(m.version), nil
}

func (m *memory) Put(_ context.Context, _, value, version string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse > 0 {
		m.refuse--
		m.version++
		return false, nil
	}
	if version != strconv.Itoa(m.version) {
		return false, nil
	}
	m.value, m.version = value, m.version+1
	return true, nil
}

func TestCompareAndSet(t *testing.T) {
	store := &memory{refuse: 3}
	check(t, func(token int64, a Access) error {
		return CompareAndSet(context.Background(), store, "r", token, a)
	})
}

// HF-11.4: the token travels in a header, and an access that is too old is refused.
func TestHandler(t *testing.T) {
	var g Guard
	h := Handler(&g, func(r *http.Request) string { return r.URL.Path },
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func(method, token string) int {
		r := httptest.NewRequest(method, "/orders/42", nil)
		if token != "" {
			r.Header.Set(Header, token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for i, s := range []struct {
		method, token string
		want          int
	}{
		{"PUT", "", 428}, {"PUT", "x", 428}, {"PUT", "-1", 428},
		{"PUT", "7", 200}, {"PUT", "6", 412}, {"GET", "6", 412}, {"GET", "8", 200}, {"PUT", "7", 412},
	} {
		if got := ask(s.method, s.token); got != s.want {
			t.Errorf("step %d: %d, want %d", i, got, s.want)
		}
	}
	header := http.Header{}
	SetHeader(header, 281474976710657)
	if got, err := FromHeader(header); got != 281474976710657 || err != nil {
		t.Error(got, err)
	}
}

// HF-11.4: one statement compares and raises the mark, so that nothing can come between.
func TestStatements(t *testing.T) {
	const want = "INSERT INTO f (resource, seen, written) VALUES ($1, $2, $3) ON CONFLICT (resource) " +
		"DO UPDATE SET seen = excluded.seen, written = excluded.written WHERE f.seen <= excluded.seen"
	if got := (SQL{Table: "f", Dollars: true}).Statement(Write); got != want {
		t.Error(got)
	}
}
