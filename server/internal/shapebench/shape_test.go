package shapebench

import (
	"fmt"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

var shapes = []struct {
	name string
	shape
}{
	{"messages", messages{}},
	{"codec", codec{}},
	{"codecs", codecs{}},
	{"frames", frames{}},
	{"columns", columns{}},
	{"columnframes", columnFrames{}},
}

// A benchmark of something that loses data would be worth nothing.
func TestEveryShapeCarriesTheSame(t *testing.T) {
	for _, n := range []int{1, 2, 17, 256} {
		ops := mixed(n)
		want := commands(ops)
		for _, s := range shapes {
			atLeader, entry := s.leader(s.client(ops))
			if !reflect.DeepEqual(atLeader, want) {
				t.Fatalf("%s, %d operations: the leader has %+v, want %+v", s.name, n, atLeader, want)
			}
			if got := s.replica(entry); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, %d operations: a replica has %+v, want %+v", s.name, n, got, want)
			}
			got := s.read(s.answer(atLeader, 1<<48+7), nil, ops)
			if want := results(ops, 1<<48+7); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, %d operations: the caller has %+v, want %+v", s.name, n, got, want)
			}
		}
	}
}

func TestTheCodecWritesTheContract(t *testing.T) {
	cmds := commands(mixed(64))
	if got, want := appendEntry(nil, cmds), must(proto.Marshal(logEntry(cmds))); string(got) != string(want) {
		t.Fatalf("entry by hand\n%x\ngenerated\n%x", got, want)
	}
	if got, want := (codecs{}).client(mixed(64)), (messages{}).client(mixed(64)); string(got) != string(want) {
		t.Fatalf("request by hand\n%x\ngenerated\n%x", got, want)
	}
	var got, want holdfastv1.ExecuteResponse
	check(proto.Unmarshal(codec{}.answer(cmds, 1<<48), &got))
	check(proto.Unmarshal(messages{}.answer(cmds, 1<<48), &want))
	if !proto.Equal(&got, &want) {
		t.Fatalf("answer by hand\n%v\ngenerated\n%v", &got, &want)
	}
}

// The figures are per operation, not per batch. "way" is the whole way of an operation in a
// cluster of three, on all machines together: client, leader, three replicas, answer, read.
func BenchmarkShape(b *testing.B) {
	for _, s := range shapes {
		for _, n := range []int{1, 16, 64, 256} {
			ops := mixed(n)
			request := s.client(ops)
			cmds, entry := s.leader(request)
			response := s.answer(cmds, 1<<48)
			var sink []locktable.Command
			into := make([]result, 0, n)
			bench := func(step string, size int, run func()) {
				b.Run(fmt.Sprintf("%s/%s/ops=%d", s.name, step, n), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						run()
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/lockop")
					b.ReportMetric(float64(size)/float64(n), "B/lockop")
				})
			}
			bench("client", len(request), func() { s.client(ops) })
			bench("leader", len(entry), func() { sink, _ = s.leader(request) })
			bench("replica", len(entry), func() { sink = s.replica(entry) })
			bench("answer", len(response), func() { s.answer(sink, 1<<48) })
			bench("read", len(response), func() { s.read(response, into[:0], ops) })
			bench("way", len(request)+len(entry)+len(response), func() {
				cmds, entry := s.leader(s.client(ops))
				for range 3 {
					sink = s.replica(entry)
				}
				s.read(s.answer(cmds, 1<<48), into[:0], ops)
			})
		}
	}
}
