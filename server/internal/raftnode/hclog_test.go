package raftnode

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A peer that is down does not fill the log.
func TestRaftDoesNotRepeatItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := newHCLog(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		down := errors.New("connection refused")
		for i := range 250 { // 25 seconds
			log.Error("failed to heartbeat to", "peer", raft.ServerAddress("a:1"), "backoff time", 10, "error", down)
			if i >= 120 {
				log.Error("failed to heartbeat to", "peer", raft.ServerAddress("b:1"), "backoff time", 10, "error", down)
			}
			if i == 30 {
				log.Warn("failed to contact", "server-id", raft.ServerID("a"))
				log.Warn("failed to contact quorum of nodes, stepping down")
				log.Info("entering follower state")
			}
			time.Sleep(100 * time.Millisecond)
		}
		want := strings.Join([]string{
			`level=ERROR msg="raft: failed to heartbeat to" peer=a:1 "backoff time"=10 error="connection refused"`,
			`level=WARN msg="raft: failed to contact" server-id=a`,
			`level=WARN msg="raft: failed to contact quorum of nodes, stepping down"`,
			`level=ERROR msg="raft: failed to heartbeat to" peer=a:1 "backoff time"=10 error="connection refused" "left out before"=99`,
			`level=ERROR msg="raft: failed to heartbeat to" peer=b:1 "backoff time"=10 error="connection refused"`,
			`level=ERROR msg="raft: failed to heartbeat to" peer=a:1 "backoff time"=10 error="connection refused" "left out before"=99`,
			`level=ERROR msg="raft: failed to heartbeat to" peer=b:1 "backoff time"=10 error="connection refused" "left out before"=99`,
			"",
		}, "\n")
		if got := text.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
