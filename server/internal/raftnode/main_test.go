package raftnode

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m,
		// The database leaves it behind when it panics over a damaged file.
		goleak.IgnoreAnyFunction("go.etcd.io/bbolt.(*DB).freepages.func2"))
}
