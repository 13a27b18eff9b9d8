package cluster

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1/holdfastv1connect"
)

const (
	pageSize     = 1000
	renewersMost = 64
)

// Sessions are the ids of all sessions that hold something.
func (c *Cluster) Sessions(ctx context.Context) ([]uint64, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	service := holdfastv1connect.NewSessionServiceClient(c.http, leader.URL)
	var all []uint64
	for token := ""; ; {
		page, err := service.ListSessions(ctx, &v1.ListSessionsRequest{PageSize: pageSize, PageToken: token})
		if err != nil {
			return nil, err
		}
		for _, s := range page.GetSessions() {
			if s.GetGrants() > 0 {
				all = append(all, s.GetSessionId())
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

// RenewTogether renews sessions as fast as it can, so that all of them end at the same time if
// nobody renews them again. It returns how long it took.
func (c *Cluster) RenewTogether(ctx context.Context, sessions []uint64) (time.Duration, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return 0, err
	}
	speaks := new(http.Protocols)
	speaks.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: speaks}
	defer transport.CloseIdleConnections()
	service := holdfastv1connect.NewSessionServiceClient(&http.Client{Transport: transport}, leader.URL)
	began := time.Now()
	var next atomic.Int64
	var running sync.WaitGroup
	failed := make(chan error, renewersMost)
	for range renewersMost {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(sessions)); i = next.Add(1) - 1 {
				_, err := service.RenewSession(ctx, &v1.RenewSessionRequest{SessionId: sessions[i]})
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	running.Wait()
	close(failed)
	return time.Since(began), <-failed
}
