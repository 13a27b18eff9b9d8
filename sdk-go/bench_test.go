package holdfast

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// BenchmarkPairs is what an acquire with its release costs the client: public API, one session, names
// that nobody else wants, and a service that answers every batch after the time of a commit with the
// least possible work. ns/op is the time of a pair; cpu-ns/operation is what counts.
func BenchmarkPairs(b *testing.B) {
	for _, callers := range []int{1, 16, 128, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := &benchService{commit: time.Millisecond}
			c, err := New(b.Context(), Endpoints("http://bench"),
				WithTransport(func() http.RoundTripper { return w }))
			if err != nil {
				b.Fatal(err)
			}
			locks := make([]*Lock, callers)
			for i := range locks {
				locks[i] = c.Lock(fmt.Sprintf("orders/%04d", i))
			}
			if err := pair(b.Context(), locks[0]); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before, batches := cpuTime(), w.batches.Load()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for _, l := range locks {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := pair(b.Context(), l); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			operations := 2 * float64(b.N)
			b.ReportMetric(float64(cpuTime()-before)/operations, "cpu-ns/operation")
			b.ReportMetric(operations/float64(w.batches.Load()-batches), "operations/batch")
			if err := c.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func pair(ctx context.Context, l *Lock) error {
	h, err := l.Acquire(ctx)
	if err != nil {
		return err
	}
	return h.Release(ctx)
}

// benchService grants every acquire and takes every release. It reads no more of a batch than what
// each operation is.
type benchService struct {
	commit  time.Duration
	batches atomic.Int64
	grants  atomic.Int64
	index   atomic.Uint64
}

func (w *benchService) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	method := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	stamp := &v1.Stamp{Index: w.index.Add(1), TimeMs: 1_000_000}
	deadlines := &v1.Deadlines{SessionMs: 1_000_000 + 86_400_000}
	cluster := &v1.ClusterRef{ClusterId: "bench", Epoch: 1}
	switch method {
	case "Execute":
		time.Sleep(w.commit)
		w.batches.Add(1)
		answer := w.execute(body, stamp, deadlines)
		answer, err = proto.MarshalOptions{}.MarshalAppend(answer,
			&v1.ExecuteResponse{Deadlines: deadlines, Cluster: cluster})
		return binaryAnswer(r, "application/proto", answer), err
	case "OpenSession":
		return protoAnswer(r, &v1.OpenSessionResponse{SessionId: 1, Stamp: stamp, Deadlines: deadlines,
			Cluster: cluster})
	case "CloseSession":
		return protoAnswer(r, &v1.CloseSessionResponse{Stamp: stamp, Cluster: cluster})
	}
	<-r.Context().Done() // Events, and no renewal is due
	return nil, r.Context().Err()
}

// execute answers a batch.
func (w *benchService) execute(batch []byte, stamp *v1.Stamp, deadlines *v1.Deadlines) []byte {
	at, _ := proto.Marshal(stamp)
	until, _ := proto.Marshal(deadlines)
	answer := make([]byte, 0, 128*len(batch)/16)
	for len(batch) > 0 {
		number, kind, n := protowire.ConsumeTag(batch)
		batch = batch[n:]
		if number != 3 {
			batch = batch[protowire.ConsumeFieldValue(number, kind, batch):]
			continue
		}
		operation, n := protowire.ConsumeBytes(batch)
		batch = batch[n:]
		if acquire, _, _ := protowire.ConsumeTag(operation); acquire == 1 {
			answer = w.granted(answer, operation, at, until)
		} else {
			answer = append(answer, 0x0a, byte(2+2+len(at)), 0x1a, byte(2+len(at)), 0x12, byte(len(at)))
			answer = append(answer, at...)
		}
	}
	return answer
}

// granted answers an acquire with a grant of its one claim, in the form the service gives it.
func (w *benchService) granted(answer, operation, at, until []byte) []byte {
	_, _, n := protowire.ConsumeTag(operation)
	request, _ := protowire.ConsumeBytes(operation[n:])
	var claim []byte
	for len(request) > 0 {
		number, kind, n := protowire.ConsumeTag(request)
		request = request[n:]
		n = protowire.ConsumeFieldValue(number, kind, request)
		if number == 3 {
			claim, _ = protowire.ConsumeBytes(request)
		}
		request = request[n:]
	}
	id := 1<<48 + uint64(w.grants.Add(1))
	grant := 2*(1+protowire.SizeVarint(id)) + 2 + len(claim) + 2 + 2 + len(until)
	body := 2 + 2 + grant + 2 + len(at)
	answer = append(answer, 0x0a, byte(2+body), 0x12, byte(body),
		0x08, byte(v1.Outcome_OUTCOME_GRANTED), 0x1a, byte(grant), 0x08)
	answer = append(protowire.AppendVarint(answer, id), 0x10)
	answer = append(protowire.AppendVarint(answer, id), 0x1a, byte(len(claim)))
	answer = append(append(answer, claim...), 0x20, 1, 0x2a, byte(len(until)))
	answer = append(append(answer, until...), 0x52, byte(len(at)))
	return append(answer, at...)
}

func protoAnswer(r *http.Request, m proto.Message) (*http.Response, error) {
	data, err := proto.Marshal(m)
	return binaryAnswer(r, "application/proto", data), err
}

func binaryAnswer(r *http.Request, contentType string, data []byte) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {contentType}}, ContentLength: int64(len(data)),
		Body: io.NopCloser(bytes.NewReader(data)), Request: r}
}
