package rpc

import (
	"strings"
	"testing"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// What a person with curl reads when the JSON is wrong.
func TestUnreadableJSON(t *testing.T) {
	for _, c := range []struct{ body, field, message string }{
		{``, "body", "body: empty; a JSON object, at least {}"},
		{"  \n", "body", "body: empty; a JSON object, at least {}"},
		{`{"name": "a"`, "body", "body: not JSON at line 1, column 12: unexpected end of JSON input"},
		{"{\n  \"name\": a\n}", "body",
			"body: not JSON at line 2, column 11: invalid character 'a' looking for beginning of value"},
		{`{"name": "a",}`, "body",
			"body: not JSON at line 1, column 14: invalid character '}' looking for beginning of object key string"},
		{`{'name': 'a'}`, "body", "body: not JSON at line 1, column 2: invalid character '\\'' looking for beginning of object key string"},
		{`name=a`, "body", "body: not JSON at line 1, column 2: invalid character 'a' in literal null (expecting 'u')"},
		{`{} {}`, "body", "body: not JSON at line 1, column 4: invalid character '{' after top-level value"},
		{`[]`, "body", "body: a list where an object should be"},
		{`null`, "body", "body: null where an object should be"},
		{`"x"`, "body", `body: "x" where an object should be`},
		{`{"nmae": "a"}`, "nmae", "nmae: unknown field"},
		{`{"claims": [{"name": "a"}, {"name": "b", "md": 1}]}`, "claims[1].md", "claims[1].md: unknown field"},
		{`{"claims": {"name": "a"}}`, "claims", "claims: an object where a list should be"},
		{`{"claims": ["a"]}`, "claims[0]", `claims[0]: "a" where an object should be`},
		{`{"name": 5}`, "name", "name: 5 where a text should be"},
		{`{"name": ["a"]}`, "name", "name: a list where a text should be"},
		{`{"wait": 5}`, "wait", "wait: 5 is not a duration"},
		{`{"wait": "5"}`, "wait", `wait: "5" is not a duration`},
		{`{"wait": "5m"}`, "wait", `wait: "5m" is not a duration`},
		{`{"lockDelay": "1s", "max_hold": {}}`, "max_hold", "max_hold: an object is not a duration"},
		{`{"mode": "exclusive"}`, "mode", `mode: "exclusive" is not one of its values`},
		{`{"sessionId": "x"}`, "session_id", `session_id: "x" where a whole number should be`},
		{`{"sessionId": 1.5}`, "session_id", `session_id: 1.5 where a whole number should be`},
		{`{"reentrant": "yes"}`, "reentrant", `reentrant: "yes" where true or false should be`},
		{`{"sessionId": -1}`, "body", `body: (line 1:15): invalid value for uint64 field sessionId: -1`},
		{`{"priority": 3000000000}`, "body",
			`body: (line 1:14): invalid value for int32 field priority: 3000000000`},
		{`{"wait": "999999999999999s"}`, "body",
			`body: (line 1:10): google.protobuf.Duration value out of range: "999999999999999s"`},
		{`{"name": "a", "name": "b"}`, "body", `body: (line 1:15): duplicate field "name"`},
		{`{"name": "\ud800"}`, "body", "body: a text has a broken escape"},
		{`{"x` + strings.Repeat("y", 1000) + `": 1}`, "x" + strings.Repeat("y", 63) + "...",
			"x" + strings.Repeat("y", 63) + "...: unknown field"},
		{strings.Repeat(`[`, 100_000), "body", "body: not JSON at line 1, column 10001: invalid character '[' exceeded max depth"},
		{strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100), "body", "body: a list where an object should be"},
	} {
		request := &v1.AcquireRequest{}
		if err := (jsonCodec{"json"}).Unmarshal([]byte(c.body), request); err != nil {
			t.Fatal(err)
		}
		err := decodeError(request)
		if err == nil {
			t.Errorf("%.80s: was read", c.body)
			continue
		}
		got := detailOf(t, err)
		if got.GetField() != c.field || got.GetMessage() != c.message {
			t.Errorf("%.80s:\n got  %s: %s\n want %s: %s", c.body, got.GetField(), got.GetMessage(), c.field, c.message)
		}
	}
}

// A caller cannot make the server answer an error of the caller's choice.
func TestNoErrorsFromOutside(t *testing.T) {
	forged := &v1.AcquireRequest{}
	if err := leaveError(forged, fail(v1.ErrorReason_ERROR_REASON_INTERNAL)); err != nil {
		t.Fatal(err)
	}
	data, err := (protoCodec{}).Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	received := &v1.AcquireRequest{}
	if err := (protoCodec{}).Unmarshal(data, received); err != nil {
		t.Fatal(err)
	}
	if err := decodeError(received); err != nil {
		t.Errorf("got %v", err)
	}
}
