package rpc

import (
	"fmt"
	"strings"
)

// badMethod is a method, requests of it that are well-formed, and some that are not.
type badMethod struct {
	valid []string // JSON
	bad   []badRequest
}

// badRequest is a request in JSON and the answer it must get.
type badRequest struct {
	body   string
	reason string // of the catalogue, without its prefix
	field  string
	limit  string
}

func long(n int) string { return strings.Repeat("x", n) }

func manyClaims(n int) string {
	var claims []string
	for i := range n {
		claims = append(claims, fmt.Sprintf(`{"name":"a/%d"}`, i))
	}
	return strings.Join(claims, ",")
}

const (
	argument = "INVALID_ARGUMENT"
	name     = "INVALID_NAME"
	mode     = "INVALID_MODE"
	ttl      = "INVALID_TTL"
)

// badNames are the ways in which a name can be wrong, for a request with a name in place of %s.
func badNames(form, field string) []badRequest {
	return []badRequest{
		{fmt.Sprintf(form, long(513)), name, field, "at most 512 bytes"},
		{fmt.Sprintf(form, strings.Repeat("a/", 32)+"a"), name, field, "at most 32 segments"},
		{fmt.Sprintf(form, "/a"), name, field, ""},
		{fmt.Sprintf(form, "a//b"), name, field, ""},
		{fmt.Sprintf(form, "a/../b"), name, field, ""},
		{fmt.Sprintf(form, "a/ b"), name, field, ""},
		{fmt.Sprintf(form, "$sys/a"), name, field, ""},
		{fmt.Sprintf(form, `a\u0000b`), name, field, ""},
		{fmt.Sprintf(form, `a\ufffd`), name, field, ""},
	}
}

func badNamespaces(form string) []badRequest {
	return []badRequest{
		{fmt.Sprintf(form, "Big"), argument, "namespace", ""},
		{fmt.Sprintf(form, "a/b"), argument, "namespace", "a to z, 0 to 9 and -"},
		{fmt.Sprintf(form, "system"), argument, "namespace", ""},
		{fmt.Sprintf(form, long(64)), argument, "namespace", "at most 63 bytes"},
	}
}

func rows(lists ...[]badRequest) []badRequest {
	var all []badRequest
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// badMethods has a row for every method of the contract.
var badMethods = map[string]badMethod{
	"LockService/Execute": {
		valid: []string{
			`{"sessionId":1,"operations":[{"acquire":{"name":"a"}}]}`,
			`{"sessionId":1,"operations":[{"acquire":{"claims":[{"name":"a"}]}}]}`,
			`{"sessionId":1,"operations":[{"release":{"grantId":1}}]}`,
			`{"sessionId":1,"operations":[{"convert":{"grantId":1,"name":"a","mode":"MODE_SHARED"}}]}`,
			`{"sessionId":1,"operations":[{"renew":{"grantId":1}}]}`,
			`{"sessionId":1,"operations":[{"cancel":{"requestId":1}}]}`,
		},
		bad: rows([]badRequest{
			{`{}`, argument, "session_id", "at least 1"},
			{`{"sessionId":1}`, argument, "operations", "1 to 1024 operations"},
			{`{"sessionId":1,"operations":[{}]}`, argument, "operations[0]",
				"one of acquire, release, convert, renew, cancel"},
			{`{"sessionId":1,"operations":[` + strings.Repeat(`{"renew":{"grantId":1}},`, 1024) +
				`{"renew":{"grantId":1}}]}`, argument, "operations", "at most 1024"},
			{`{"sessionId":1,"operations":[` + strings.TrimSuffix(strings.Repeat(
				`{"acquire":{"name":"a","metadata":"`+long(4096)+`"}},`, 64), ",") + `]}`,
				argument, "operations", "at most 262144 bytes (256 KiB)"},
			{`{"sessionId":1,"operations":[{"renew":{"grantId":1}},{"acquire":{"claims":[{"name":"a"},{"name":"/"}]}}]}`,
				name, "operations[1].acquire.claims[1].name", ""},
			{`{"sessionId":1,"operations":[{"acquire":{"name":"a","sessionId":2}}]}`,
				argument, "operations[0].acquire.session_id", ""},
			{`{"sessionId":1,"operations":[{"acquire":{"name":"a","acked":2}}]}`,
				argument, "operations[0].acquire.acked", ""},
			{`{"sessionId":1,"operations":[{"acquire":{"name":"a","namespace":"x"}}]}`,
				argument, "operations[0].acquire.namespace", ""},
			{`{"sessionId":1,"operations":[{"acquire":{"name":"a","ttl":"9s"}}]}`,
				argument, "operations[0].acquire.ttl", ""},
			{`{"sessionId":1,"operations":[{"acquire":{"name":"a","nonce":"x"}}]}`,
				argument, "operations[0].acquire.nonce", ""},
			{`{"sessionId":1,"operations":[{"release":{"grantId":1,"sessionId":1}}]}`,
				argument, "operations[0].release.session_id", ""},
			{`{"sessionId":1,"operations":[{"convert":{"grantId":1,"mode":"MODE_SHARED","sessionId":1}}]}`,
				argument, "operations[0].convert.session_id", ""},
			{`{"sessionId":1,"operations":[{"renew":{"grantId":1,"acked":1}}]}`,
				argument, "operations[0].renew.acked", ""},
			{`{"sessionId":1,"operations":[{"cancel":{"requestId":1,"sessionId":1}}]}`,
				argument, "operations[0].cancel.session_id", ""},
			{`{"sessionId":1,"operations":[{"cancel":{}}]}`,
				argument, "operations[0].cancel.request_id", "at least 1"},
			{`{"sessionId":1,"operations":[{"release":{}}]}`,
				argument, "operations[0].release.grant_id", "at least 1"},
			{`{"sessionId":1,"operations":[{"acquire":{"name":"a","wait":"86401s"}}]}`,
				argument, "operations[0].acquire.wait", "at most 24h"},
		}, badNames(`{"sessionId":1,"operations":[{"acquire":{"name":"%s"}}]}`, "operations[0].acquire.name")),
	},
	"LockService/Acquire": {
		valid: []string{
			`{"name":"a","nonce":"n","namespace":"x","ttl":"30s"}`,
			`{"claims":[{"name":"a"},{"name":"b"}]}`,
			`{"name":"a","sessionId":1,"requestId":1,"acked":1}`,
		},
		bad: rows([]badRequest{
			{`{}`, name, "name", "give name or claims"},
			{`{"name":"a","claims":[{"name":"b"}]}`, argument, "name", ""},
			{`{"mode":"MODE_SHARED","claims":[{"name":"b"}]}`, argument, "mode", ""},
			{`{"mode":6,"name":"b"}`, mode, "mode", ""},
			{`{"mode":-1,"name":"b"}`, mode, "mode", ""},
			{`{"claims":[` + manyClaims(65) + `]}`, argument, "claims", "at most 64"},
			{`{"claims":[{"name":"a"},{"name":"b"},{"name":"a"}]}`, argument, "claims[2].name", "each name once"},
			{`{"claims":[{"name":"a"},{}]}`, name, "claims[1].name", "1 to 32 segments"},
			{`{"claims":[{"name":"a","mode":7}]}`, mode, "claims[0].mode", ""},
			{`{"claims":[{"name":"a","slots":2}]}`, argument, "claims[0].slots", "0 or 1; counted locks are reserved"}, // HF-3.5
			{`{"name":"a","wait":"-1s"}`, argument, "wait", "at least 0s"},
			{`{"name":"a","wait":"86400.001s"}`, argument, "wait", "at most 24h"},
			{`{"name":"a","wait":"315576000000s"}`, argument, "wait", "at most 24h"},
			{`{"name":"a","lease":"0s"}`, argument, "lease", "at least 100ms"},
			{`{"name":"a","lease":"0.099999999s"}`, argument, "lease", "at least 100ms"},
			{`{"name":"a","lease":"2592000.000000001s"}`, argument, "lease", "at most 30d"},
			{`{"name":"a","maxHold":"0.05s"}`, argument, "max_hold", "at least 100ms"},
			{`{"name":"a","maxHold":"2592001s"}`, argument, "max_hold", "at most 30d"},
			{`{"name":"a","lockDelay":"61s"}`, argument, "lock_delay", "at most 1m"},
			{`{"name":"a","ttl":"0.5s"}`, ttl, "ttl", "at least 1s"},
			{`{"name":"a","ttl":"0s"}`, ttl, "ttl", "at least 1s"},
			{`{"name":"a","ttl":"86401s"}`, ttl, "ttl", "at most 24h"},
			{`{"name":"a","priority":101}`, argument, "priority", "from -100 to 100"},
			{`{"name":"a","priority":-2147483648}`, argument, "priority", "from -100 to 100"},
			{`{"name":"a","onDeadlock":3}`, argument, "on_deadlock", ""},
			{`{"name":"a","owner":"` + long(129) + `"}`, argument, "owner", "at most 128 bytes"},
			{`{"name":"a","nonce":"` + long(129) + `"}`, argument, "nonce", "at most 128 bytes"},
			{`{"name":"a","metadata":"` + long(4097) + `"}`, argument, "metadata", "at most 4096 bytes"},
			{`{"name":"a","requestId":1}`, argument, "request_id", ""},
			{`{"name":"a","acked":1}`, argument, "acked", ""},
			{`{"name":"a","sessionId":1,"nonce":"x"}`, argument, "nonce", ""},
			{`{"name":"a","sessionId":1,"ttl":"30s"}`, argument, "ttl", ""},
			{`{"name":"a","sessionId":1,"namespace":"x"}`, argument, "namespace", ""},
		}, badNames(`{"name":"%s"}`, "name"), badNamespaces(`{"name":"a","namespace":"%s"}`)),
	},
	"LockService/Release": {
		valid: []string{`{"grantId":1}`},
		bad: []badRequest{
			{`{}`, argument, "grant_id", "at least 1"},
			{`{"grantId":-1}`, argument, "grant_id", "at least 1"},
			{`{"grantId":"-9223372036854775808","sessionId":1,"requestId":1}`, argument, "grant_id", "at least 1"},
		},
	},
	"LockService/Convert": {
		valid: []string{`{"grantId":1,"name":"a","mode":"MODE_SHARED"}`, `{"grantId":1,"name":"a","drop":true}`},
		bad: rows([]badRequest{
			{`{}`, argument, "grant_id", "at least 1"},
			{`{"grantId":-5,"mode":3}`, argument, "grant_id", "at least 1"},
			{`{"grantId":1}`, mode, "mode", "give mode or drop"},
			{`{"grantId":1,"mode":9}`, mode, "mode", ""},
			{`{"grantId":1,"mode":3,"name":"a","drop":true}`, argument, "mode", ""},
			{`{"grantId":1,"drop":true}`, name, "name", "1 to 32 segments"},
			{`{"grantId":1,"mode":3,"wait":"-0.000000001s"}`, argument, "wait", "at least 0s"},
			{`{"grantId":1,"mode":3,"wait":"90000s"}`, argument, "wait", "at most 24h"},
			{`{"grantId":1,"mode":3,"priority":-101}`, argument, "priority", "from -100 to 100"},
			{`{"grantId":1,"mode":3,"onDeadlock":-1}`, argument, "on_deadlock", ""},
		}, badNames(`{"grantId":1,"mode":3,"name":"%s"}`, "name")),
	},
	"LockService/Renew": {
		valid: []string{`{"grantId":1}`},
		bad: []badRequest{
			{`{}`, argument, "grant_id", "at least 1"},
			{`{"grantId":-1}`, argument, "grant_id", "at least 1"},
		},
	},
	"LockService/Cancel": {
		valid: []string{`{"sessionId":1,"requestId":1}`},
		bad: []badRequest{
			{`{}`, argument, "session_id", "at least 1"},
			{`{"sessionId":1}`, argument, "request_id", "at least 1"},
			{`{"requestId":1}`, argument, "session_id", "at least 1"},
		},
	},
	"LockService/GetLock": {
		valid: []string{`{"name":"a"}`},
		bad: rows([]badRequest{
			{`{}`, name, "name", "1 to 32 segments"},
		}, badNames(`{"name":"%s"}`, "name"), badNamespaces(`{"name":"a","namespace":"%s"}`)),
	},
	"LockService/ListLocks": {
		valid: []string{`{}`},
		bad: rows([]badRequest{
			{`{"pageSize":1001}`, argument, "page_size", "at most 1000"},
			{`{"pageSize":4294967295}`, argument, "page_size", "at most 1000"},
			{`{"pageToken":"x"}`, argument, "page_token", "give back the one of the page before"},
			{`{"pageToken":"` + long(5000) + `"}`, argument, "page_token", "at most 1024 bytes"},
			{`{"pageToken":"bDphLy9i"}`, argument, "page_token", "give back the one of the page before"},
			{`{"pageToken":"czox"}`, argument, "page_token", "give back the one of the page before"},
		}, badNames(`{"prefix":"%s"}`, "prefix"), badNamespaces(`{"namespace":"%s"}`)),
	},
	"LockService/WatchLocks": {
		valid: []string{`{}`},
		bad: rows([]badRequest{
			{`{"cursor":"!"}`, argument, "cursor", "give back one that this cluster gave"},
			{`{"cursor":"AAAA"}`, argument, "cursor", "give back one that this cluster gave"},
			{`{"cursor":"` + long(257) + `"}`, argument, "cursor", "at most 256 bytes"},
		}, badNames(`{"prefix":"%s"}`, "prefix"), badNamespaces(`{"namespace":"%s"}`)),
	},
	"LockService/ExplainWait": {
		valid: []string{`{"name":"a"}`, `{"sessionId":1,"requestId":1}`},
		bad: rows([]badRequest{
			{`{}`, argument, "session_id", "give session_id and request_id, or name"},
			{`{"sessionId":1}`, argument, "request_id", "at least 1"},
			{`{"requestId":1}`, argument, "session_id", "at least 1"},
			{`{"sessionId":1,"requestId":1,"name":"a"}`, argument, "name", ""},
			{`{"sessionId":1,"requestId":1,"namespace":"a"}`, argument, "namespace", ""},
		}, badNames(`{"name":"%s"}`, "name"), badNamespaces(`{"name":"a","namespace":"%s"}`)),
	},
	"SessionService/OpenSession": {
		valid: []string{`{}`},
		bad: rows([]badRequest{
			{`{"ttl":"0.999s"}`, ttl, "ttl", "at least 1s"},
			{`{"ttl":"-30s"}`, ttl, "ttl", "at least 1s"},
			{`{"ttl":"86400.000000001s"}`, ttl, "ttl", "at most 24h"},
			{`{"metadata":"` + long(4097) + `"}`, argument, "metadata", "at most 4096 bytes"},
			{`{"nonce":"` + long(129) + `"}`, argument, "nonce", "at most 128 bytes"},
		}, badNamespaces(`{"namespace":"%s"}`)),
	},
	"SessionService/RenewSession": {
		valid: []string{`{"sessionId":1}`},
		bad:   []badRequest{{`{}`, argument, "session_id", "at least 1"}},
	},
	"SessionService/CloseSession": {
		valid: []string{`{"sessionId":1}`},
		bad:   []badRequest{{`{"abandon":true}`, argument, "session_id", "at least 1"}},
	},
	"SessionService/ListSessions": {
		valid: []string{`{}`},
		bad: rows([]badRequest{
			{`{"pageSize":1001}`, argument, "page_size", "at most 1000"},
			{`{"pageToken":"#"}`, argument, "page_token", "give back the one of the page before"},
			{`{"pageToken":"bDph"}`, argument, "page_token", "give back the one of the page before"},
		}, badNamespaces(`{"namespace":"%s"}`)),
	},
	"SessionService/Events": {
		valid: []string{`{"sessionId":1}`},
		bad: []badRequest{
			{`{}`, argument, "session_id", "at least 1"},
			{`{"sessionId":1,"cursor":"x"}`, argument, "cursor", "give back one that this cluster gave"},
		},
	},
	"AdminService/RevokeGrant": {
		valid: []string{`{"grantId":1}`},
		bad: []badRequest{
			{`{}`, argument, "grant_id", "at least 1"},
			{`{"grantId":-1}`, argument, "grant_id", "at least 1"},
			{`{"grantId":1,"reason":"` + long(4097) + `"}`, argument, "reason", "at most 4096 bytes"},
		},
	},
	"AdminService/RevokeSession": {
		valid: []string{`{"sessionId":1}`},
		bad: []badRequest{
			{`{}`, argument, "session_id", "at least 1"},
			{`{"sessionId":1,"reason":"` + long(4097) + `"}`, argument, "reason", "at most 4096 bytes"},
		},
	},
	"AdminService/ListDeadlocks": {
		valid: []string{`{}`},
		bad: rows([]badRequest{
			{`{"pageSize":1001}`, argument, "page_size", "at most 1000"},
		}, badNamespaces(`{"namespace":"%s"}`)),
	},
	"ClusterService/GetStatus": {valid: []string{`{}`}},
	"ClusterService/AddMember": {
		valid: []string{`{"nodeId":"n2","peerAddress":"10.0.0.2:7481"}`},
		bad: []badRequest{
			{`{}`, argument, "node_id", ""},
			{`{"nodeId":"n 2","peerAddress":"h:1"}`, argument, "node_id", "letters, digits, - _ and ."},
			{`{"nodeId":"` + long(129) + `","peerAddress":"h:1"}`, argument, "node_id", "at most 128 bytes"},
			{`{"nodeId":"n2"}`, argument, "peer_address", "host:port"},
			{`{"nodeId":"n2","peerAddress":"h"}`, argument, "peer_address", "host:port"},
			{`{"nodeId":"n2","peerAddress":":1"}`, argument, "peer_address", "host:port"},
			{`{"nodeId":"n2","peerAddress":"h:0"}`, argument, "peer_address", "from 1 to 65535"},
			{`{"nodeId":"n2","peerAddress":"h:65536"}`, argument, "peer_address", "from 1 to 65535"},
			{`{"nodeId":"n2","peerAddress":"http://h:1"}`, argument, "peer_address", "host:port"},
		},
	},
	"ClusterService/PromoteMember": {
		valid: []string{`{"nodeId":"n2"}`}, bad: []badRequest{{`{}`, argument, "node_id", ""}},
	},
	"ClusterService/RemoveMember": {
		valid: []string{`{"nodeId":"n2"}`}, bad: []badRequest{{`{}`, argument, "node_id", ""}},
	},
	"ClusterService/TransferLeadership": {
		valid: []string{`{"nodeId":"n2"}`}, bad: []badRequest{{`{"nodeId":"/"}`, argument, "node_id", "letters, digits, - _ and ."}},
	},
}
