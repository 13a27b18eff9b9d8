package raftnode

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// hclogger is the logger that Raft wants.
type hclogger = hclog.Logger

// sayAgainAfter is how long a message of Raft about the same peer is not repeated. While a peer is
// down the leader fails to reach it a dozen times a second, and says so each time.
const sayAgainAfter = 10 * time.Second

// newHCLog passes warnings and errors of Raft on to slog.
func newHCLog(log *slog.Logger) hclogger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Off, Output: io.Discard})
	l.RegisterSink(&slogSink{log: log, said: map[aboutPeer]*said{}})
	return l
}

type slogSink struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[aboutPeer]*said // as many as Raft has messages and the cluster has had members
}

// aboutPeer is a message about a peer; the peer is empty if it is about none.
type aboutPeer struct{ msg, peer string }

type said struct {
	at      time.Time
	leftOut int // since then
}

// Accept implements hclog.SinkAdapter.
func (s *slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn {
		return
	}
	leftOut, say := s.due(aboutPeer{msg, peerIn(args)})
	if !say {
		return
	}
	if leftOut > 0 {
		args = append(args[:len(args):len(args)], "left out before", leftOut)
	}
	to := slog.LevelWarn
	if level >= hclog.Error {
		to = slog.LevelError
	}
	s.log.Log(context.Background(), to, "raft: "+msg, args...)
}

// due tells whether to say something now, and how often it was left out since it was said last.
func (s *slogSink) due(what aboutPeer) (leftOut int, say bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	last := s.said[what]
	switch {
	case last == nil:
		s.said[what] = &said{at: now}
		return 0, true
	case now.Sub(last.at) < sayAgainAfter:
		last.leftOut++
		return 0, false
	}
	leftOut = last.leftOut
	*last = said{at: now}
	return leftOut, true
}

// peerIn finds the peer among the keys and values of a message, whatever Raft calls it there.
func peerIn(args []any) string {
	for _, arg := range args {
		switch peer := arg.(type) {
		case raft.ServerAddress:
			return string(peer)
		case raft.ServerID:
			return string(peer)
		case raft.Server:
			return string(peer.ID)
		}
	}
	return ""
}
