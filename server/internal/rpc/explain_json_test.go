package rpc

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

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
		{`{"sessionId": "x"}`, "session_id", `session_id: "x" where a whole number should be; ` + anyUint64},
		{`{"sessionId": 1.5}`, "session_id", `session_id: 1.5 where a whole number should be; ` + anyUint64},
		{`{"reentrant": "yes"}`, "reentrant", `reentrant: "yes" where true or false should be`},
		{`{"name": "\ud800"}`, "name", "name: a broken escape"},
		{"{\"name\": \"\xff\"}", "name", "name: not valid UTF-8"},
		{`{"x` + strings.Repeat("y", 1000) + `": 1}`, "x" + strings.Repeat("y", 63) + "...",
			"x" + strings.Repeat("y", 63) + "...: unknown field"},
		{strings.Repeat(`[`, 100_000), "body", "body: not JSON at line 1, column 10001: invalid character '[' exceeded max depth"},
		{strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100), "body", "body: a list where an object should be"},
	} {
		request := &v1.AcquireRequest{}
		got := refusedJSON(t, c.body, request)
		if got.GetField() != c.field || got.GetMessage() != c.message {
			t.Errorf("%.80s:\n got  %s: %s\n want %s: %s", c.body, got.GetField(), got.GetMessage(), c.field, c.message)
		}
	}
}

const anyUint64 = "from 0 to 18446744073709551615"

// HF-10.6: the field and its limit are named also where the parser, and not a check of ours, is the
// first to refuse a value.
func TestJSONValuesOutOfRange(t *testing.T) {
	for _, c := range []struct {
		request              proto.Message
		body, field, problem string
		limit                string
	}{
		{&v1.AcquireRequest{}, `{"sessionId":-1}`, "session_id", "-1 is out of range", anyUint64},
		{&v1.AcquireRequest{}, `{"sessionId":"-1"}`, "session_id", `"-1" is out of range`, anyUint64},
		{&v1.AcquireRequest{}, `{"sessionId":18446744073709551616}`, "session_id",
			"18446744073709551616 is out of range", anyUint64},
		{&v1.AcquireRequest{}, `{"sessionId":007}`, "body", "not JSON at line 1, column 15: " +
			"invalid character '0' after object key:value pair", ""},
		{&v1.AcquireRequest{}, `{"sessionId":"007"}`, "session_id", `"007" where a whole number should be`, anyUint64},
		{&v1.AcquireRequest{}, `{"sessionId":[1]}`, "session_id", "a list where a whole number should be", anyUint64},
		{&v1.AcquireRequest{}, `{"priority":3000000000}`, "priority", "3000000000 is out of range", "from -100 to 100"},
		{&v1.AcquireRequest{}, `{"priority":-3000000000}`, "priority", "-3000000000 is out of range", "from -100 to 100"},
		{&v1.AcquireRequest{}, `{"priority":"low"}`, "priority", `"low" where a whole number should be`, "from -100 to 100"},
		{&v1.ReleaseRequest{}, `{"grantId":9223372036854775808}`, "grant_id",
			"9223372036854775808 is out of range", "from -9223372036854775808 to 9223372036854775807"},
		{&v1.ListLocksRequest{}, `{"pageSize":-1}`, "page_size", "-1 is out of range", "at most 1000"},
		{&v1.ListLocksRequest{}, `{"pageSize":4294967296}`, "page_size", "4294967296 is out of range", "at most 1000"},
		{&v1.AcquireRequest{}, `{"claims":[{"name":"a"},{"name":"b","slots":-1}]}`, "claims[1].slots",
			"-1 is out of range", "from 0 to 4294967295"},
		{&v1.AcquireRequest{}, `{"wait":"999999999999999s"}`, "wait", "999999999999999s is above the most", "at most 24h"},
		{&v1.AcquireRequest{}, `{"wait":"-999999999999999s"}`, "wait", "negative", "at least 0s"},
		{&v1.AcquireRequest{}, `{"lease":"` + strings.Repeat("9", 400) + `s"}`, "lease",
			strings.Repeat("9", 64) + "... is above the most", "at most 30d"},
		{&v1.OpenSessionRequest{}, `{"ttl":"315576000001s"}`, "ttl", "315576000001s is above the most", "at most 24h"},
		{&v1.AcquireRequest{}, `{"wait":"05s"}`, "wait", `"05s" is not a duration`, ""},
		{&v1.AcquireRequest{}, `{"wait":"1-1s"}`, "wait", `"1-1s" is not a duration`, ""},
		{&v1.AcquireRequest{}, `{"wait":"s"}`, "wait", `"s" is not a duration`, ""},
		{&v1.AcquireRequest{}, `{"mode":3000000000}`, "mode", "3000000000 is not one of its values", ""},
		{&v1.AcquireRequest{}, `{"mode":1.5}`, "mode", "1.5 is not one of its values", ""},
		{&v1.AcquireRequest{}, `{"claims":[null]}`, "claims[0]", "null where an object should be", ""},
		{&v1.AcquireRequest{}, `{"name":"a","name":"b"}`, "name", "given twice", "at most once"},
		{&v1.AcquireRequest{}, `{"maxHold":null,"max_hold":null}`, "max_hold", "given twice", "at most once"},
		{&v1.ExecuteRequest{}, `{"operations":[{},{"acquire":{"name":"a","sessionId":1,"session_id":1}}]}`,
			"operations[1].acquire.session_id", "given twice", "at most once"},
		{&v1.ExecuteRequest{}, `{"operations":[{"acquire":{},"renew":null,"release":{}}]}`, "operations[0].release",
			"given beside acquire", "one of acquire, release, convert, renew, cancel"},
		// What the parser takes is not called wrong because something else is.
		{&v1.AcquireRequest{}, `{"sessionId":1e3,"requestId":"1.0","wait":"+.5s","mode":5,"reentrant":null,"claims":[],"name":5}`,
			"name", "5 where a text should be", ""},
	} {
		got := refusedJSON(t, c.body, c.request)
		message := c.field + ": " + c.problem
		if c.limit != "" {
			message += "; " + c.limit
		}
		if got.GetField() != c.field || got.GetMessage() != message || got.GetLimit() != c.limit {
			t.Errorf("%.80s:\n got  %s: %s (%s)\n want %s: %s", c.body,
				got.GetField(), got.GetMessage(), got.GetLimit(), c.field, message)
		}
	}
	ttl := refusedJSON(t, `{"ttl":"999999999999999s"}`, &v1.OpenSessionRequest{})
	if ttl.GetReason() != v1.ErrorReason_ERROR_REASON_INVALID_TTL {
		t.Errorf("a ttl is refused with %v", ttl.GetReason())
	}
}

// refusedJSON reads JSON that cannot be read, and gives the error.
func refusedJSON(t *testing.T, body string, request proto.Message) *v1.Error {
	t.Helper()
	if err := (jsonCodec{"json"}).Unmarshal([]byte(body), request); err != nil {
		t.Fatal(err)
	}
	err := decodeError(request)
	if err == nil {
		t.Fatalf("%.80s: was read", body)
	}
	return detailOf(t, err)
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
