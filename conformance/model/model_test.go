package model

import (
	"fmt"
	"testing"
)

func TestSmoke(t *testing.T) {
	m := New(Tuning{1024, 64, 1024, 1000})
	do := func(i uint64, stamp int64, cs ...Command) {
		fx := m.Apply(Batch{i, stamp, cs})
		for _, r := range fx.Results {
			fmt.Printf("%d %+v\n", i, r)
		}
		for _, e := range fx.Events {
			fmt.Printf("    %+v\n", e)
		}
	}
	a := func(s uint64, id uint64, wait int64, cs ...Claim) Command {
		return Command{Kind: "Acquire", Session: s, Request: id, Wait: wait, Claims: cs}
	}
	do(1, 10, Command{Kind: "OpenSession", Namespace: "default", TTL: 1000}, Command{Kind: "OpenSession", Namespace: "default", TTL: 2000})
	do(2, 20, a(1, 1, 0, Claim{"a", X}), a(2, 1, 500, Claim{"b", X}))
	do(3, 20, a(1, 2, 100, Claim{"b", X}), a(2, 2, 500, Claim{"a", X}))
	do(4, 2020)
}
