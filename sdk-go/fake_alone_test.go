package holdfast

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// This file is what the fake does for calls that name no session.

// Acquire opens a session of its own, or finds it by its nonce (HF-4.12).
func (f *fake) Acquire(ctx context.Context, r *v1.AcquireRequest) (*v1.AcquireResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	f.acquired = append(f.acquired, proto.CloneOf(r))
	id := f.alone[r.GetNonce()]
	if id == 0 {
		f.lastSess++
		id = f.lastSess
		f.alone[r.GetNonce()] = id
		f.sessions[id] = &fakeSession{ttl: r.GetTtl().AsDuration(), deadline: 1 << 62,
			answers: make(map[uint64]*v1.OperationResult), waits: make(map[uint64]*fakeWait)}
	}
	s := f.sessions[id]
	r = proto.CloneOf(r)
	r.RequestId = 1
	result := f.operate(id, s, &v1.Operation{Operation: &v1.Operation_Acquire{Acquire: r}}, stamp)
	for s.waits[1] != nil {
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-f.stopped:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if s.waits[1] != nil && ctx.Err() != nil {
			f.cancel(s, 1, f.step())
			return nil, ctx.Err()
		}
		if s.answers[1] != nil {
			result = s.answers[1]
		}
	}
	answer := proto.CloneOf(result.GetAcquire())
	answer.SessionId, answer.Cluster = id, f.ref()
	return answer, nil
}

// Release finds the session by the grant.
func (f *fake) Release(_ context.Context, r *v1.ReleaseRequest) (*v1.ReleaseResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp := f.step()
	f.released = append(f.released, proto.CloneOf(r))
	g := f.grants[r.GetGrantId()]
	if g == nil {
		return nil, wireError(connect.CodeFailedPrecondition, notHolder().GetError())
	}
	answer := f.operate(g.session, f.sessions[g.session],
		&v1.Operation{Operation: &v1.Operation_Release{Release: r}}, stamp)
	return answer.GetRelease(), nil
}

// GetLock shows who holds a lock.
func (f *fake) GetLock(_ context.Context, r *v1.GetLockRequest) (*v1.GetLockResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.GetName() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("name: empty"))
	}
	f.step()
	lock := &v1.Lock{Name: r.GetName()}
	for id, g := range f.grants {
		for _, c := range g.claims {
			if c.GetName() == r.GetName() {
				lock.Holders = append(lock.Holders, &v1.Holder{SessionId: g.session, Owner: g.owner,
					Mode: c.GetMode(), Grant: f.show(id), Metadata: g.metadata})
				lock.HoldersTotal++
			}
		}
	}
	return &v1.GetLockResponse{Lock: lock, Stamp: f.stamp(), Cluster: f.ref()}, nil
}
