package shapebench

import (
	"fmt"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

const (
	session   = 4711
	principal = "spiffe://example.org/ns/shop/sa/checkout"
	stamp     = 86_400_123
	index     = 1_234_567
	proposal  = 0x1234_5678_9abc_def0
	ttlMillis = 30_000
)

// op is what a caller of an SDK asks for: an acquire, or a release if grant is set.
type op struct {
	request uint64
	name    string
	owner   string
	wait    int64
	grant   int64
}

// result is what the caller gets.
type result struct {
	granted bool
	grant   int64
	token   int64
	depth   uint32
	index   uint64
	offset  uint32
	time    int64
	session int64 // deadline
}

// shape is one way to carry a batch. Each step takes what the step before made.
type shape interface {
	client(ops []op) []byte                                 // a request as it is sent
	leader(request []byte) ([]locktable.Command, []byte)    // decoded and checked; as a log entry
	replica(entry []byte) []locktable.Command               // decoded to be applied
	answer(cmds []locktable.Command, first uint64) []byte   // a response as it is sent
	read(response []byte, into []result, ops []op) []result // as the caller gets it
}

// mixed returns n operations: acquires and releases, half and half.
func mixed(n int) []op {
	ops := make([]op, 0, n)
	for i := range n {
		if i%2 == 0 {
			ops = append(ops, op{
				request: uint64(100_000 + i),
				name:    fmt.Sprintf("shop/orders/%08d", 7_919*i),
				owner:   fmt.Sprintf("o%d", 1000+i),
				wait:    int64(5_000),
			})
			continue
		}
		ops = append(ops, op{request: uint64(100_000 + i), grant: 1<<48 + int64(900_000+i)})
	}
	return ops
}

// commands is what every shape must deliver to the lock table for these operations.
func commands(ops []op) []locktable.Command {
	cmds := make([]locktable.Command, 0, len(ops))
	for _, o := range ops {
		cmds = append(cmds, command(o))
	}
	return cmds
}

func command(o op) locktable.Command {
	caller := locktable.Caller{Principal: principal, Session: session, Request: o.request, Acked: 99_000}
	if o.grant != 0 {
		return &locktable.Release{Caller: caller, Grant: locktable.GrantID(o.grant)}
	}
	return &locktable.Acquire{
		Caller:    caller,
		Owner:     o.owner,
		Claims:    []locktable.Claim{{Name: o.name, Mode: locktable.X}},
		WaitLimit: o.wait,
	}
}

// results is what every shape must deliver to the caller: all acquires granted at once.
func results(ops []op, first uint64) []result {
	all := make([]result, 0, len(ops))
	for i, o := range ops {
		r := result{index: index, offset: uint32(i), time: stamp, session: stamp + ttlMillis}
		if o.grant == 0 {
			r.granted, r.depth = true, 1
			r.grant, r.token = int64(first)+int64(i), int64(first)+int64(i)
		}
		all = append(all, r)
	}
	return all
}

func checkName(name string) {
	if name == "" || len(name) > 512 {
		panic("name")
	}
}
