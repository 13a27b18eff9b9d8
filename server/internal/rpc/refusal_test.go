package rpc

import (
	"testing"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// A refusal names the limit that was passed; given again it does not know it any more (HF-7.2), and
// does not make one up.
func TestRefusalsNameTheLimit(t *testing.T) {
	command := &locktable.Acquire{Caller: locktable.Caller{Session: 7, Request: 3}}
	for _, test := range []struct {
		result         locktable.Result
		message, limit string
	}{
		{
			locktable.Result{Refusal: locktable.QueueFull, Name: "a/b", Limit: 5},
			"a/b has 5 waiters, the most allowed", "at most 5 waiters",
		},
		{
			locktable.Result{Refusal: locktable.QueueFull, First: 12},
			"a name of the request had the most waiters allowed when this request was first answered, at index 12", "",
		},
		{
			locktable.Result{Refusal: locktable.QuotaExceeded, Limit: 5},
			"session 7 has 5 grants, the most allowed", "at most 5 grants",
		},
		{
			locktable.Result{Refusal: locktable.QuotaExceeded, First: 12},
			"session 7 had the most grants allowed when this request was first answered, at index 12", "",
		},
	} {
		got := refusal(command, &answer{Result: &test.result})
		if got.GetMessage() != test.message || got.GetLimit() != test.limit {
			t.Errorf("%+v:\n got %q, %q\nwant %q, %q", test.result, got.GetMessage(), got.GetLimit(), test.message, test.limit)
		}
	}
}
