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

// checkWindow looks at all batches: ids begin at 1, never more than 1,024 operations, and acked
// never above an id that is sent later for the first time.
func (f *fake) checkWindow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var acked uint64
	for _, e := range f.executed {
		if len(e.GetOperations()) > batchMost {
			f.t.Errorf("a batch of %d", len(e.GetOperations()))
		}
		for _, o := range e.GetOperations() {
			id := max(o.GetAcquire().GetRequestId(), o.GetRelease().GetRequestId())
			if id <= acked {
				f.t.Errorf("id %d was sent after %d was acknowledged", id, acked)
			}
			if id >= acked+1+windowIDs+inFlightMost*batchMost {
				f.t.Errorf("id %d is far above %d", id, acked)
			}
		}
		acked = max(acked, e.GetAcked())
	}
}
