package peers

import (
	"context"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/conformance/bench/internal/cluster"
	"github.com/holdfast-dev/holdfast/conformance/bench/internal/results"
	sdk "github.com/holdfast-dev/holdfast/sdk-go"
)

// holdfast is us: three nodes, and the Go SDK with its defaults.
type holdfast struct {
	version string
	cluster *cluster.Cluster
}

func (h *holdfast) about() results.Peer {
	return results.Peer{Name: results.Holdfast, Version: h.version,
		Durability: "on the disks of a majority of 3, fsynced"}
}

func (h *holdfast) start(ctx context.Context, s *servers) (err error) {
	if out, err := exec.CommandContext(ctx, s.Binary, "version").Output(); err == nil {
		h.version = strings.Fields(string(out) + " holdfast unknown")[1]
	}
	h.cluster, err = cluster.StartIn(ctx, s.group, s.Binary, s.dir)
	return err
}

func (h *holdfast) connect(ctx context.Context, callers int, one bool, prefix string) (lock, func(), error) {
	n := shared(callers)
	if one {
		n = callers
	}
	clients := make([]*sdk.Client, n)
	closeAll := func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for _, c := range clients {
			if c != nil {
				_ = c.Close(limit) // its session ends by itself, if not now
			}
		}
	}
	for i := range clients {
		c, err := sdk.New(ctx, sdk.Endpoints(h.cluster.Endpoints()...))
		if err != nil {
			return nil, closeAll, err
		}
		clients[i] = c
	}
	locks := make([]*sdk.Lock, callers)
	for i := range locks {
		locks[i] = clients[i%n].Lock(lockName(prefix, i, one))
	}
	return func(ctx context.Context, caller int) (func(context.Context) error, error) {
		handle, err := locks[caller].Acquire(ctx)
		if err != nil {
			return nil, err
		}
		return handle.Release, nil
	}, closeAll, nil
}
