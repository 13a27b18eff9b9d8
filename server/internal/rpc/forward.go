package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	peerv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/peer/v1"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

const (
	// forwardsInFlight is how many merged calls are on their way at a time: as many as the
	// proposer has entries in flight, so that its pipeline stays full.
	forwardsInFlight = 2
	// forwardCallsMax and forwardBytesMax bound one merged call.
	forwardCallsMax = 1024
	forwardBytesMax = 1 << 20
)

// lane merges calls on their way to the leader: what accumulated while the calls before were in
// flight travels together. Nothing waits for company.
type lane struct {
	services *Services

	mu      sync.Mutex
	waiting []*forwarded
	senders int
}

// forwarded is a call in a lane.
type forwarded struct {
	call  *peerv1.Call
	sent  bool               // under the lane's lock
	reply chan *peerv1.Reply // gets exactly one
}

func newLane(s *Services) *lane { return &lane{services: s} }

// forward brings a call to the leader and gives its reply. It tries once.
func (l *lane) forward(ctx context.Context, call *peerv1.Call) *peerv1.Reply {
	f := &forwarded{call: call, reply: make(chan *peerv1.Reply, 1)}
	l.mu.Lock()
	l.waiting = append(l.waiting, f)
	if l.senders < forwardsInFlight {
		l.senders++
		go l.send()
	}
	l.mu.Unlock()
	select {
	case reply := <-f.reply:
		return reply
	case <-ctx.Done():
	}
	if l.takeBack(f) {
		return errorReply(noQuorum())
	}
	return errorReply(unknownOutcome(context.Cause(ctx)))
}

// takeBack removes a call that has not been sent yet.
func (l *lane) takeBack(f *forwarded) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.sent {
		return false
	}
	for i, other := range l.waiting {
		if other == f {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			break
		}
	}
	return true
}

// send sends what waits until nothing does.
func (l *lane) send() {
	for {
		batch := l.take()
		if len(batch) == 0 {
			return
		}
		replies := l.services.sendForward(batch)
		for i, f := range batch {
			f.reply <- replies[i]
		}
	}
}

// take takes as many calls as may travel together. If there is none, the sender ends.
func (l *lane) take() []*forwarded {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < len(l.waiting) && n < forwardCallsMax {
		bytes += proto.Size(l.waiting[n].call)
		if n > 0 && bytes > forwardBytesMax {
			break
		}
		l.waiting[n].sent = true
		n++
	}
	batch := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	if n == 0 {
		l.waiting = nil
		l.senders--
	}
	return batch
}

// sendForward sends one merged call, and gives a reply for each call in it.
func (s *Services) sendForward(batch []*forwarded) []*peerv1.Reply {
	request := &peerv1.ForwardRequest{Calls: make([]*peerv1.Call, len(batch))}
	for i, f := range batch {
		request.Calls[i] = f.call
	}
	s.Observer.Forwarded(len(batch))
	_, addr := s.otherLeader()
	if addr == "" {
		return sameReply(noQuorum(), len(batch))
	}
	// The leader gives up after its own patience; a little more, so that its word arrives.
	ctx, cancel := context.WithTimeout(context.Background(), patience+patience/4)
	defer cancel()
	response, err := s.Peers.Client(addr).Forward(s.whileLeading(ctx, addr), request)
	if err == nil && len(response.GetReplies()) != len(batch) {
		err = fmt.Errorf("%d replies to %d calls", len(response.GetReplies()), len(batch))
	}
	if err != nil {
		return sameReply(s.peerError(err), len(batch))
	}
	return response.GetReplies()
}

// lookEvery is how often a call that is on its way to the leader looks whether that is still true.
const lookEvery = 50 * time.Millisecond

// whileLeading gives a context, for a call to the leader, that ends also when another node leads: a
// leader that hangs does not hold up what the next one could do. One that does not hang has the time
// between two looks to say what became of the call.
func (s *Services) whileLeading(ctx context.Context, addr string) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	moved := false
	var look func()
	look = func() {
		if ctx.Err() != nil {
			return
		}
		if moved {
			cancel()
			return
		}
		_, now := s.otherLeader()
		moved = now != "" && now != addr || s.Proposer.Leads()
		time.AfterFunc(lookEvery, look)
	}
	time.AfterFunc(lookEvery, look) // mostly the call has ended by then
	return ctx
}

func sameReply(detail *v1.Error, n int) []*peerv1.Reply {
	replies := make([]*peerv1.Reply, n)
	for i := range replies {
		replies[i] = errorReply(detail)
	}
	return replies
}

// ErrNotSent is in the chain of an error if a peer could not be connected to, so that surely
// nothing was done there.
var ErrNotSent = errors.New("no connection")

// peerError gives the error for a call to a peer that broke: the leader's own word if there is
// one, not done if there was no connection, else unknown (HF-7.3).
func (s *Services) peerError(err error) *v1.Error {
	if errors.Is(err, ErrNotSent) {
		return s.notLeader()
	}
	var failed *connect.Error
	if errors.As(err, &failed) {
		for _, d := range failed.Details() {
			if value, err := d.Value(); err == nil {
				if detail, ok := value.(*v1.Error); ok {
					return detail
				}
			}
		}
	}
	return fail(v1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, "the connection to the leader broke")
}
