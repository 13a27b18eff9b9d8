package codec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/wire"
)

// hot are the messages that have a form.
var hot = []proto.Message{
	&v1.ExecuteRequest{}, &v1.ExecuteResponse{}, &v1.AcquireRequest{}, &v1.AcquireResponse{},
	&v1.ReleaseRequest{}, &v1.ReleaseResponse{}, &v1.ConvertRequest{}, &v1.ConvertResponse{},
	&v1.RenewRequest{}, &v1.RenewResponse{}, &v1.CancelRequest{}, &v1.CancelResponse{},
	&v1.RenewSessionRequest{}, &v1.RenewSessionResponse{}, &v1.EventsResponse{},
}

// The same bytes, and the same understanding of them, as with the generated code.
func TestFormsAgreeWithGeneratedCode(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 71))
	for i := range 3000 {
		m := hot[i%len(hot)].ProtoReflect().New()
		randomFields(random, m, 0)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
		if err != nil {
			t.Fatal(err)
		}
		w := form{Wire: wire.Writer([]byte("before"))}
		if !w.message(m.Interface()) || w.Err() != nil || string(w.Bytes()) != "before"+string(want) {
			t.Fatalf("%v\nis written %x\ninstead of %x (%v)", m, w.Bytes(), want, w.Err())
		}
		got := m.New()
		r := form{Wire: wire.Reader(want)}
		if !r.message(got.Interface()) || r.Err() != nil || !proto.Equal(got.Interface(), m.Interface()) {
			t.Fatalf("got %v\nwant %v (%v)", got, m, r.Err())
		}
	}
}

// randomFields sets about half of the fields.
func randomFields(random *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case random.IntN(2) == 0:
		case field.IsList():
			list := m.Mutable(field).List()
			for range random.IntN(4) * random.IntN(12) / (depth + 1) {
				e := list.NewElement()
				randomFields(random, e.Message(), depth+1)
				list.Append(e)
			}
		case field.Kind() == protoreflect.MessageKind:
			randomFields(random, m.Mutable(field).Message(), depth+1)
		default:
			m.Set(field, randomValue(random, field.Kind()))
		}
	}
}

func randomValue(random *rand.Rand, kind protoreflect.Kind) protoreflect.Value {
	bits := random.Uint64() >> random.IntN(64)
	if random.IntN(2) == 0 {
		bits = -bits
	}
	switch kind {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.Repeat("ß", random.IntN(1<<random.IntN(8))))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(bits&1 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(bits)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(bits))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(bits))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(bits))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(bits)
	}
	panic("a field of a kind that randomValue does not know: " + kind.String())
}

func TestMessagesWithoutAFormGoTheUsualWay(t *testing.T) {
	want := &v1.OpenSessionRequest{Namespace: "n", Ttl: durationpb.New(5)}
	data, err := Proto{}.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := &v1.OpenSessionRequest{Nonce: "old"}
	if err := (Proto{}).Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
		t.Errorf("got %v, want %v (%v)", got, want, err)
	}
}

func TestWhatFormsCannotDoFailsTheUsualWay(t *testing.T) {
	bad := &v1.AcquireRequest{Name: "a\xff"}
	_, want := proto.Marshal(bad)
	if _, err := MarshalAppend(nil, bad); err == nil || err.Error() != want.Error() {
		t.Errorf("writing: got %v, want %v", err, want)
	}
	for _, data := range []string{"\x0a\x02a\xff", "\x0a\x09a", "\x1a\x04\x0a\x02a\xff", "\x00", "\x0c"} {
		want := proto.Unmarshal([]byte(data), &v1.AcquireRequest{})
		err := Unmarshal([]byte(data), &v1.AcquireRequest{})
		if err == nil || err.Error() != want.Error() {
			t.Errorf("reading %q: got %v, want %v", data, err, want)
		}
	}
	if _, err := (Proto{}).MarshalAppend(nil, "no message"); err == nil {
		t.Error("a string was written")
	}
	if err := (Proto{}).Unmarshal(nil, "no message"); err == nil {
		t.Error("a string was read")
	}
}

func TestMissingPartsAreWrittenAsTheGeneratedCodeDoes(t *testing.T) {
	for _, m := range []proto.Message{
		&v1.ExecuteRequest{Operations: []*v1.Operation{nil, {}, {Operation: &v1.Operation_Acquire{}}}},
		&v1.ExecuteResponse{Results: []*v1.OperationResult{nil, {}, {Result: &v1.OperationResult_Error{}}}},
	} {
		want, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := MarshalAppend(nil, m); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: got %x, want %x (%v)", m, got, want, err)
		}
	}
}

// A message that is read leaves nothing in those that come after it.
func TestUnmarshalForgetsWhatWasThere(t *testing.T) {
	m := &v1.AcquireRequest{Name: "old", Claims: []*v1.Claim{{Name: "x"}}}
	if err := Unmarshal([]byte("\x32\x01o"), m); err != nil || !proto.Equal(m, &v1.AcquireRequest{Owner: "o"}) {
		t.Errorf("got %v (%v)", m, err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 41))
	for i := range hot {
		m := hot[i].ProtoReflect().New()
		randomFields(random, m, 0)
		data, err := proto.Marshal(m.Interface())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, data)
	}
	f.Fuzz(func(t *testing.T, i int, data []byte) {
		want := hot[uint(i)%uint(len(hot))].ProtoReflect().New().Interface()
		wrong := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, want)
		got := proto.Clone(want)
		proto.Reset(got)
		r := form{Wire: wire.Reader(data)}
		r.message(got)
		if (r.Err() == nil) != (wrong == nil) || wrong == nil && !proto.Equal(got, want) {
			t.Fatalf("got %v (%v)\nwant %v (%v)", got, r.Err(), want, wrong)
		}
	})
}

func BenchmarkExecute(b *testing.B) {
	for _, n := range []int{1, 16, 64, 512} {
		request, response := batch(n)
		for _, m := range []proto.Message{request, response} {
			data, err := proto.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			name := fmt.Sprintf("%s/operations=%d/", m.ProtoReflect().Descriptor().Name(), n)
			buffer := make([]byte, 0, 2*len(data))
			bench(b, name+"write/forms", n, func() error {
				_, err := MarshalAppend(buffer, m)
				return err
			})
			bench(b, name+"write/generated", n, func() error {
				_, err := proto.MarshalOptions{}.MarshalAppend(buffer, m)
				return err
			})
			bench(b, name+"read/forms", n, func() error {
				return Unmarshal(data, m.ProtoReflect().New().Interface())
			})
			bench(b, name+"read/generated", n, func() error {
				return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m.ProtoReflect().New().Interface())
			})
		}
	}
}

// batch has acquires and releases in turn, and their answers.
func batch(n int) (*v1.ExecuteRequest, *v1.ExecuteResponse) {
	request := &v1.ExecuteRequest{SessionId: 17, Acked: 990}
	response := &v1.ExecuteResponse{Deadlines: &v1.Deadlines{SessionMs: 1_000_000},
		Cluster: &v1.ClusterRef{ClusterId: "c-0123456789", Epoch: 1, Leader: "http://127.0.0.1:7480"}}
	for i := range n {
		stamp := &v1.Stamp{Index: 100_000, Offset: uint32(i), TimeMs: 970_000}
		if i%2 == 1 {
			request.Operations = append(request.Operations, &v1.Operation{Operation: &v1.Operation_Release{
				Release: &v1.ReleaseRequest{GrantId: 1 << 47, RequestId: uint64(1000 + i)}}})
			response.Results = append(response.Results, &v1.OperationResult{Result: &v1.OperationResult_Release{
				Release: &v1.ReleaseResponse{Stamp: stamp}}})
			continue
		}
		request.Operations = append(request.Operations, &v1.Operation{Operation: &v1.Operation_Acquire{
			Acquire: &v1.AcquireRequest{Name: "orders/12345678", Owner: "7", RequestId: uint64(1000 + i),
				Wait: &durationpb.Duration{Seconds: 5}}}})
		response.Results = append(response.Results, &v1.OperationResult{Result: &v1.OperationResult_Acquire{
			Acquire: &v1.AcquireResponse{Outcome: v1.Outcome_OUTCOME_GRANTED, Stamp: stamp,
				Grant: &v1.Grant{Id: 1 << 47, Token: 1 << 47, Depth: 1,
					Claims:    []*v1.Claim{{Name: "orders/12345678", Mode: v1.Mode_MODE_EXCLUSIVE}},
					Deadlines: &v1.Deadlines{SessionMs: 1_000_000}}}}})
	}
	return request, response
}

// cpuTime is what the process has used, which says more than the clock when others are at work too.
func cpuTime(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

func bench(b *testing.B, name string, operations int, do func() error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		before := cpuTime(b)
		for b.Loop() {
			if err := do(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*operations), "cpu-ns/operation")
	})
}
