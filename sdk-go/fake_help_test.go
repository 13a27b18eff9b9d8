package holdfast

import (
	"strconv"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

func name(i int) string { return "item/" + strconv.Itoa(i) }

func (f *fake) count(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// dialled is how often a host was dialled, reachable or not.
func (f *fake) dialled(host string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials[host]
}

// on sets the script; it runs under the fake's lock.
func (f *fake) on(script func(call) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = script
}

func (f *fake) setDown(host string, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[host] = down
}

func (f *fake) compact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compacted = true
}

func (f *fake) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue)
}

func (f *fake) mode(grant int64) v1.Mode {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.grants[grant].claims[0].GetMode()
}

// releaseAtServer ends a grant without an event to its holder.
func (f *fake) releaseAtServer(id int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step()
	delete(f.grants, id)
	f.grantNext()
}

func (f *fake) mute(muted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.muted = muted
}

func requestID(o *v1.Operation) uint64 {
	return max(o.GetAcquire().GetRequestId(), o.GetRelease().GetRequestId(),
		o.GetConvert().GetRequestId(), o.GetRenew().GetRequestId())
}

// greatestID is the greatest request id that was sent.
func (f *fake) greatestID() (most uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.executed {
		for _, o := range e.GetOperations() {
			most = max(most, requestID(o))
		}
	}
	return most
}

// checkWindow looks at all batches: none has more than 1,024 operations, and nothing is sent with an
// id that is acknowledged, by its own batch or by one before.
func (f *fake) checkWindow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var acked uint64
	for _, e := range f.executed {
		if len(e.GetOperations()) > batchMost {
			f.t.Errorf("a batch of %d", len(e.GetOperations()))
		}
		acked = max(acked, e.GetAcked())
		for _, o := range e.GetOperations() {
			if id := requestID(o); id != 0 && id <= acked {
				f.t.Errorf("id %d was sent although %d is acknowledged", id, acked)
			}
		}
	}
}

// renewals are the renewals of grants that were sent.
func (f *fake) renewals() (all []*v1.RenewRequest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.executed {
		for _, o := range e.GetOperations() {
			if r := o.GetRenew(); r != nil {
				all = append(all, r)
			}
		}
	}
	return all
}

// lastOperation is the last operation that was sent.
func (f *fake) lastOperation() *v1.Operation {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops := f.executed[len(f.executed)-1].GetOperations()
	return ops[len(ops)-1]
}
