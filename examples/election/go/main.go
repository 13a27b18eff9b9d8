// Election lets three candidates lead one after the other, while an observer watches.
//
//	go run ./election/go              against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
)

const (
	election   = "jobs/scheduler"
	candidates = 3
)

func main() {
	endpoints := cmp.Or(os.Getenv("HOLDFAST_ENDPOINTS"), "http://127.0.0.1:7480")
	if err := run(context.Background(), strings.Split(endpoints, ","), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string, out io.Writer) error {
	c, err := holdfast.New(ctx, holdfast.Endpoints(endpoints...))
	if err != nil {
		return err
	}
	defer c.Close(ctx)

	// Each leader goes on leading until the observer has seen it.
	seen := make(map[string]chan struct{})
	for i := range candidates {
		seen[fmt.Sprintf("candidate-%d", i)] = make(chan struct{})
	}
	errs := make(chan error, candidates)
	var wg sync.WaitGroup
	defer wg.Wait()
	for name, observed := range seen {
		wg.Go(func() { errs <- campaign(ctx, endpoints, name, observed) })
	}

	led := 0
	for leader, err := range c.Election(election).Observe(ctx) {
		if err != nil {
			return err
		}
		led++
		fmt.Fprintf(out, "leader %d of %d\n", led, candidates)
		close(seen[leader.Value])
		if led == candidates {
			break
		}
	}
	for range candidates {
		if err := <-errs; err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "every candidate has led")
	return nil
}

// campaign waits until it leads, does the leader's work within the handle's context, and resigns.
func campaign(ctx context.Context, endpoints []string, name string, done <-chan struct{}) error {
	c, err := holdfast.New(ctx, holdfast.Endpoints(endpoints...))
	if err != nil {
		return err
	}
	defer c.Close(ctx)

	e := c.Election(election)
	h, err := e.Campaign(ctx, name)
	if err != nil {
		return err
	}
	select {
	case <-done:
	case <-h.Context().Done():
		return context.Cause(h.Context())
	}
	return e.Resign(ctx)
}
