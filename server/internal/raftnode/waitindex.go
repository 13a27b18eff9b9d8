package raftnode

import (
	"container/heap"
	"context"
	"sync"
)

// waitIndex is an index that rises, and those who wait for it.
type waitIndex struct {
	mu      sync.Mutex
	index   uint64
	waiters waitHeap
}

type indexWaiter struct {
	index uint64
	done  chan struct{}
}

type waitHeap []indexWaiter

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].index < h[j].index }
func (h waitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waitHeap) Push(x any)        { *h = append(*h, x.(indexWaiter)) }
func (h *waitHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	*h = old[:len(old)-1]
	return w
}

func (w *waitIndex) load() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.index
}

func (w *waitIndex) rise(to uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index = max(w.index, to)
	for len(w.waiters) > 0 && w.waiters[0].index <= w.index {
		close(heap.Pop(&w.waiters).(indexWaiter).done)
	}
}

// wait returns when the index has been reached, or ctx or stop has ended. Those who give up stay
// in the heap until the index passes; there is at most one for each read.
func (w *waitIndex) wait(ctx context.Context, index uint64, stop <-chan struct{}) error {
	w.mu.Lock()
	if w.index >= index {
		w.mu.Unlock()
		return nil
	}
	waiter := indexWaiter{index, make(chan struct{})}
	heap.Push(&w.waiters, waiter)
	w.mu.Unlock()
	select {
	case <-waiter.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-stop:
		return ErrStopped
	}
}
