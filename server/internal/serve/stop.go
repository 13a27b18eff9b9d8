package serve

import (
	"context"
	"net/http"
	"sync"
)

// Stop stops the node in order: it takes no more calls, ends those that wait with a word to their
// callers, hands leadership over, and lets what is under way finish. What has not ended when ctx
// does is cut off. It returns when the node has stopped; Wait tells whether all was well.
func (s *Server) Stop(ctx context.Context) {
	s.stopOnce.Do(func() {
		s.halt() // not ready any more
		s.services.Stop()
		s.waiters.Close(ctx) // before leadership goes: what nobody can find again is cancelled
		s.handOver(ctx)
		s.hub.Close()
		s.shutdown(ctx)
		s.proposer.Close(ctx)
		s.close(nil)
	})
	<-s.ended
}

// handOver hands leadership to another node, if there is one.
func (s *Server) handOver(ctx context.Context) {
	if !s.proposer.Leads() {
		return
	}
	voters := 0
	for _, m := range s.node.Members() {
		if m.Voter {
			voters++
		}
	}
	if voters < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	if err := s.node.TransferLeadership(ctx, ""); err != nil {
		s.log.Warn("leadership could not be handed over", "error", err)
	}
}

// shutdown lets the calls that are under way finish.
func (s *Server) shutdown(ctx context.Context) {
	var all sync.WaitGroup
	for _, server := range s.servers() {
		all.Go(func() {
			if server.Shutdown(ctx) != nil {
				_ = server.Close() // time is up
			}
		})
	}
	all.Wait()
}

func (s *Server) servers() []*http.Server {
	var out []*http.Server
	for _, server := range []*http.Server{s.clientHTTP, s.peerHTTP, s.adminHTTP} {
		if server != nil {
			out = append(out, server)
		}
	}
	return out
}

// Kill stops the node at once, as if its process had ended: for tests.
func (s *Server) Kill() {
	s.abort(nil)
	<-s.ended
}

// abort stops the node at once; err is the reason, if it is none of those for which a node should
// stop.
func (s *Server) abort(err error) {
	s.stopOnce.Do(func() {
		s.halt()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		if s.services != nil {
			s.services.Stop()
		}
		if s.node != nil {
			s.hub.Close()
			s.waiters.Close(over)
			s.proposer.Close(over)
		}
		for _, server := range s.servers() {
			_ = server.Close()
		}
		s.close(err)
	})
}

// close closes what is left, from the top down.
func (s *Server) close(err error) {
	if s.node != nil {
		if closeErr := s.node.Close(); err == nil {
			err = closeErr
		}
	}
	for _, l := range []interface{ Close() error }{s.clients, s.admin} {
		if l != nil {
			_ = l.Close() // the HTTP server has closed it before, if there was one
		}
	}
	if s.port != nil {
		_ = s.port.Close()
	}
	s.serving.Wait()
	s.tasks.Wait()
	if s.peers != nil {
		s.peers.close()
	}
	s.endErr = err
	close(s.ended)
}

// Wait waits until the node has stopped. The error is nil if it was stopped in order or was
// removed from its cluster, else the reason for which it could not go on.
func (s *Server) Wait() error {
	<-s.ended
	return s.endErr
}

// Done is closed when the node has stopped.
func (s *Server) Done() <-chan struct{} { return s.ended }
