package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/proposer"
	"github.com/holdfast-dev/holdfast/server/internal/watch"
)

// unreachable is a node that nothing malformed may reach.
type unreachable struct{ Peers }

func (unreachable) View(func(*locktable.Table))               { panic("the table was read") }
func (unreachable) WaitApplied(context.Context, uint64) error { panic("an index was waited for") }
func (unreachable) Leader() (id, addr string)                 { panic("the leader was looked for") }
func (unreachable) Leaderless() time.Duration                 { panic("the leader was looked for") }
func (unreachable) Leads() bool                               { panic("a command was on its way") }
func (unreachable) Submit(context.Context, proposer.Batch) (proposer.Answer, error) {
	panic("a command was proposed")
}

// silent counts nothing.
type silent struct{}

func (silent) Operations(string, string, int)       {}
func (silent) Committed(time.Duration)              {}
func (silent) Called(string, string, time.Duration) {}
func (silent) Parked(int)                           {}
func (silent) Streams(int)                          {}
func (silent) Forwarded(int)                        {}

// unreachableServer serves clients in front of a node that must not be reached.
func unreachableServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := New(Config{
		NodeID: "n1", Node: unreachable{}, Proposer: unreachable{}, Peers: unreachable{},
		Watch: watch.New(watch.Config{}), Observer: silent{},
		Logger:  slog.New(slog.DiscardHandler),
		Cluster: func() (string, uint32) { panic("the history was looked up") },
		Ready:   func() bool { return true },
	})
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config = NewHTTPServer(s.Handler())
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// methods are those of the contract, by service and method.
func methods(t *testing.T) map[string]protoreflect.MethodDescriptor {
	t.Helper()
	all := map[string]protoreflect.MethodDescriptor{}
	protoregistry.GlobalFiles.RangeFilesByPackage("holdfast.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				all[string(service.Name())+"/"+string(method.Name())] = method
			}
		}
		return true
	})
	return all
}

// HF-10.6: every malformed request of every method gets an error that names the field and the
// limit, and nothing of it reaches the node.
func TestBadInput(t *testing.T) {
	server := unreachableServer(t)
	all := methods(t)
	for method := range badMethods {
		if all[method] == nil {
			t.Errorf("%s is no method", method)
		}
	}
	for method, descriptor := range all {
		row, ok := badMethods[method]
		if !ok {
			t.Errorf("%s has no row", method)
			continue
		}
		t.Run(method, func(t *testing.T) {
			c := caller{server, method, descriptor}
			for _, bad := range row.bad {
				c.expect(t, bad, c.json(t, bad.body))
				c.expect(t, bad, c.binary(t, bad.body))
			}
			c.hostile(t, row.valid)
		})
	}
}

// caller calls one method with whatever bytes it is given.
type caller struct {
	server     *httptest.Server
	method     string
	descriptor protoreflect.MethodDescriptor
}

func (c caller) expect(t *testing.T, want badRequest, got *v1.Error) {
	t.Helper()
	reason := strings.TrimPrefix(got.GetReason().String(), "ERROR_REASON_")
	if reason != want.reason || got.GetField() != want.field || got.GetLimit() != want.limit {
		t.Errorf("%.200s:\n got  %s %s (%s): %s\n want %s %s (%s)", want.body,
			reason, got.GetField(), got.GetLimit(), got.GetMessage(), want.reason, want.field, want.limit)
	}
	if !strings.Contains(got.GetMessage(), want.field) || len(got.GetMessage()) > 500 {
		t.Errorf("%.200s: the message is %q", want.body, got.GetMessage())
	}
}

func (c caller) json(t *testing.T, body string) *v1.Error { return c.call(t, "json", []byte(body)) }

// binary sends what a JSON body says in the binary form.
func (c caller) binary(t *testing.T, body string) *v1.Error {
	t.Helper()
	message := dynamicpb.NewMessage(c.descriptor.Input())
	if err := protojson.Unmarshal([]byte(body), message); err != nil {
		t.Fatalf("%.200s: %v", body, err)
	}
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return c.call(t, "proto", data)
}

// call gives the error that a call was answered.
func (c caller) call(t *testing.T, codec string, body []byte) *v1.Error {
	t.Helper()
	url := c.server.URL + "/holdfast.v1." + c.method
	contentType := "application/" + codec
	if c.descriptor.IsStreamingServer() {
		contentType = "application/connect+" + codec
		body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	response, err := c.server.Client().Post(url, contentType, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if c.descriptor.IsStreamingServer() {
		if response.StatusCode != http.StatusOK || len(answer) < 5 || answer[0]&2 == 0 {
			t.Fatalf("%s: %d %q", c.method, response.StatusCode, answer)
		}
		return wireError(t, answer[5:])
	}
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("%s: status %d", c.method, response.StatusCode)
	}
	return wireError(t, answer)
}

// wireError reads an error as the Connect protocol writes it.
func wireError(t *testing.T, data []byte) *v1.Error {
	t.Helper()
	type wire struct {
		Code    string
		Details []struct{ Type, Value string }
	}
	var end struct {
		wire
		Error *wire
	}
	if err := json.Unmarshal(data, &end); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	got := end.wire
	if end.Error != nil {
		got = *end.Error
	}
	if got.Code != "invalid_argument" || len(got.Details) != 1 {
		t.Errorf("not an invalid_argument with a detail: %q", data)
		return nil
	}
	value, err := base64.RawStdEncoding.DecodeString(got.Details[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	detail := &v1.Error{}
	if err := proto.Unmarshal(value, detail); err != nil {
		t.Fatal(err)
	}
	return detail
}

// hostile tries, beside what is wrong with a method in particular, what can be wrong with any:
// the bytes, and each of its fields in turn.
func (c caller) hostile(t *testing.T, valid []string) {
	t.Helper()
	fields := []badRequest{
		{`{"nosuch":1}`, argument, "nosuch", ""},
		{`{"constructor":{"prototype":{}}}`, argument, "constructor", ""},
		{`{`, argument, "body", ""},
		{`[]`, argument, "body", ""},
		{`null`, argument, "body", ""},
		{`"` + long(100_000) + `"`, argument, "body", ""},
		{strings.Repeat(`{"a":`, 5_000) + `1` + strings.Repeat(`}`, 5_000), argument, "a", ""},
	}
	if !c.descriptor.IsStreamingServer() {
		fields = append(fields, badRequest{``, argument, "body", "a JSON object, at least {}"})
	}
	for _, bad := range fields {
		c.expect(t, bad, c.json(t, bad.body))
	}
	for i := range c.descriptor.Input().Fields().Len() {
		c.wrongJSON(t, c.descriptor.Input().Fields().Get(i))
	}
	garbage := badRequest{"garbage", argument, "body", ""}
	c.expect(t, garbage, c.call(t, "proto", []byte{0xff, 0xff, 0xff}))
	for _, body := range valid {
		base := dynamicpb.NewMessage(c.descriptor.Input())
		if err := protojson.Unmarshal([]byte(body), base); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		c.mutate(t, base, base.ProtoReflect(), "")
	}
}

// wrongJSON gives a field values that the parser does not take. The error names the field, and
// speaks of none of the parser's words.
func (c caller) wrongJSON(t *testing.T, field protoreflect.FieldDescriptor) {
	t.Helper()
	for _, value := range []string{
		"-1e99", "1e99", "1.5", `"` + strings.Repeat("9", 40) + `"`, `"` + strings.Repeat("9", 40) + `s"`,
		"{}", "[]", "[[]]", "[null]", "true", `"\udc00"`, "\"\xff\"", "null,%[1]q:null",
	} {
		body := fmt.Sprintf("{%[1]q:"+value+"}", field.JSONName())
		request := dynamicpb.NewMessage(c.descriptor.Input())
		if protojson.Unmarshal([]byte(body), request) == nil {
			continue
		}
		got := c.json(t, body)
		at, _, _ := strings.Cut(got.GetField(), "[")
		if at != string(field.Name()) || strings.Contains(got.GetMessage(), "proto:") {
			t.Errorf("%s: got %s: %s", body, got.GetField(), got.GetMessage())
		}
	}
}

// mutate gives each field of a message values that it cannot have.
func (c caller) mutate(t *testing.T, whole proto.Message, message protoreflect.Message, path string) {
	t.Helper()
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := join(path, string(field.Name()))
		switch {
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				c.mutate(t, whole, value.List().Get(i).Message(), fmt.Sprintf("%s[%d]", at, i))
			}
		case field.Message() != nil && field.Message().FullName() != "google.protobuf.Duration":
			c.mutate(t, whole, value.Message(), at)
		}
		return true
	})
	for i := range message.Descriptor().Fields().Len() {
		field := message.Descriptor().Fields().Get(i)
		at := join(path, string(field.Name()))
		if field.ContainingOneof() != nil && !field.HasOptionalKeyword() {
			continue
		}
		before, had := message.Get(field), message.Has(field)
		for _, value := range impossible(field) {
			message.Set(field, value)
			c.refused(t, whole, at)
		}
		message.Clear(field)
		if had {
			message.Set(field, before)
		}
		if field.Kind() == protoreflect.StringKind {
			c.notUTF8(t, whole, message, field)
		}
	}
}

// impossible gives values that no field of that kind can have.
func impossible(field protoreflect.FieldDescriptor) []protoreflect.Value {
	switch {
	case field.IsList():
		return nil
	case field.Kind() == protoreflect.StringKind:
		return []protoreflect.Value{protoreflect.ValueOfString(long(100_000))}
	case field.Kind() == protoreflect.EnumKind:
		return []protoreflect.Value{protoreflect.ValueOfEnum(77), protoreflect.ValueOfEnum(-1)}
	case field.Message() != nil && field.Message().FullName() == "google.protobuf.Duration":
		var values []protoreflect.Value
		for _, d := range [][2]int64{{-1, 0}, {0, -1}, {1 << 62, 0}, {-1 << 63, 0}, {1, -1}, {0, 1 << 30}, {-1, 1}} {
			duration := dynamicpb.NewMessage(field.Message())
			fields := field.Message().Fields()
			duration.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(d[0]))
			duration.Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(int32(d[1])))
			values = append(values, protoreflect.ValueOfMessage(duration))
		}
		return values
	}
	return nil
}

// refused sends a message and expects the error to name a field, or one that excludes it.
func (c caller) refused(t *testing.T, message proto.Message, field string) {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	got := c.call(t, "proto", data)
	if code := catalogue[got.GetReason()].code; code.String() != "invalid_argument" || got.GetField() != field {
		t.Errorf("%s is impossible: got %v %s: %s", field, got.GetReason(), got.GetField(), got.GetMessage())
	}
}

// notUTF8 sends a text that is none, at whatever depth the field is.
func (c caller) notUTF8(t *testing.T, whole proto.Message, message protoreflect.Message, field protoreflect.FieldDescriptor) {
	t.Helper()
	unknown := protowire.AppendTag(nil, field.Number(), protowire.BytesType)
	message.SetUnknown(protowire.AppendBytes(unknown, []byte("\xff")))
	defer message.SetUnknown(nil)
	data, err := proto.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	c.expect(t, badRequest{"not UTF-8 in " + string(field.FullName()), argument, "body", ""}, c.call(t, "proto", data))
}
