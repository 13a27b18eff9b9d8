package holdfast_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/sdk-go/fence"
)

var (
	ctx = context.Background()
	db  *sql.DB
	c   *holdfast.Client
)

func work(context.Context) error { return nil }

func Example() {
	c, err := holdfast.New(ctx, holdfast.Endpoints("http://127.0.0.1:7480"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)

	h, err := c.Lock("orders/42").Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)

	if err := work(h.Context()); err != nil {
		log.Print(err)
	}
}

func ExampleLock_Do() {
	err := c.Lock("orders/42").Do(ctx, func(ctx context.Context, h *holdfast.Handle) error {
		return work(ctx)
	}, holdfast.WithWaitLimit(5*time.Second))
	if err != nil {
		log.Print(err)
	}
}

func ExampleLock_TryAcquire() {
	h, ok, err := c.Lock("reports/nightly").TryAcquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if !ok {
		return // somebody else does it
	}
	defer h.Release(ctx)
}

func ExampleLock_Acquire_waitLimit() {
	h, err := c.Lock("orders/42").Acquire(ctx, holdfast.WithWaitLimit(5*time.Second))
	var e *holdfast.Error
	switch {
	case errors.Is(err, holdfast.ErrWaitLimit):
		errors.As(err, &e)
		fmt.Println("in the way:", e.Blockers)
	case errors.Is(err, holdfast.ErrUnavailable):
		fmt.Println("no node could serve:", err)
	case err != nil:
		log.Fatal(err)
	default:
		defer h.Release(ctx)
	}
}

// A lock is lost when it cannot be renewed in time, or when an operator revokes it. Work within the
// handle's context stops then; a loop asks Check before each step.
func ExampleHandle_Lost() {
	h, err := c.Lock("jobs/index").Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)

	go func() {
		select {
		case <-h.AtRisk():
			log.Print("a renewal is overdue")
		case <-h.Context().Done():
		}
	}()
	for step := range 100 {
		if err := h.Check(); err != nil {
			var lost *holdfast.LostError
			if errors.As(err, &lost) {
				log.Printf("stopped before step %d: %s", step, lost.Reason)
			}
			return
		}
		if err := work(h.Context()); err != nil {
			return
		}
	}
}

// The token goes with every write, and the database refuses one that is too old: the only thing that
// helps against a program that was stopped for longer than its lease and does not know it.
func ExampleHandle_Token() {
	h, err := c.Lock("accounts/7").Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	guard := fence.SQL{Dollars: true}
	if err := guard.Check(ctx, tx, "accounts/7", h.Token(), fence.Write); err != nil {
		log.Fatal(err) // fence.ErrStale: somebody got the lock after us
	}
	if _, err := tx.ExecContext(ctx, `UPDATE accounts SET balance = 0 WHERE id = 7`); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
}

func ExampleHandle_Token_http() {
	h, err := c.Lock("files/a.txt").Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)

	req, err := http.NewRequestWithContext(h.Context(), http.MethodPut, "http://files/a.txt", nil)
	if err != nil {
		log.Fatal(err)
	}
	fence.SetHeader(req.Header, h.Token()) // the server wraps itself in fence.Handler
}

// An acquire within a handle's context is made for the same owner, and re-enters what that owner
// holds already.
func ExampleHandle_Context() {
	outer, err := c.Lock("orders/42").Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer outer.Release(ctx)

	inner, err := c.Lock("orders/42").Acquire(outer.Context()) // at once, without a call
	if err != nil {
		log.Fatal(err)
	}
	defer inner.Release(ctx)
}

func ExampleLock_Shared() {
	h, err := c.Lock("catalog").Shared().Acquire(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)
	if err := h.Upgrade(ctx); err != nil { // waits for the other readers to leave
		log.Print(err)
	}
}

func ExampleClient_LockAll() {
	h, err := c.LockAll(ctx, c.Lock("accounts/7"), c.Lock("accounts/9"), c.Lock("rates").Shared())
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)
}

// A timed lock ends unless the work itself renews it: a worker that hangs loses it, although its
// program is alive.
func ExampleHandle_Renew() {
	h, err := c.Lock("jobs/import").Acquire(ctx, holdfast.WithLease(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer h.Release(ctx)
	for range 100 {
		if err := work(h.Context()); err != nil {
			return
		}
		if err := h.Renew(ctx); err != nil {
			return
		}
	}
}

// Locks taken one after the other may deadlock with somebody else's; the service finds that and ends
// one of the waits. Run gives everything back and begins anew.
func ExampleClient_Run() {
	err := c.Run(ctx, func(ctx context.Context) error {
		if _, err := c.Lock("accounts/7").Acquire(ctx); err != nil {
			return err
		}
		if _, err := c.Lock("accounts/9").Acquire(ctx); err != nil {
			return err
		}
		return work(ctx)
	})
	if err != nil {
		log.Print(err)
	}
}

func ExampleElection() {
	e := c.Election("jobs/scheduler")
	h, err := e.Campaign(ctx, "http://10.0.0.7:8080")
	if err != nil {
		log.Fatal(err)
	}
	defer e.Resign(ctx)
	if err := work(h.Context()); err != nil { // ends when leadership is lost
		log.Print(err)
	}
}

func ExampleElection_Observe() {
	for leader, err := range c.Election("jobs/scheduler").Observe(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("leader:", leader.Value)
	}
}

func ExampleClient_WatchLocks() {
	for event, err := range c.WatchLocks(ctx, "orders") {
		if errors.Is(err, holdfast.ErrCompacted) {
			continue // something was missed: look at the present state
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Kind, event.Claims)
	}
}

func ExampleClient_ExplainLock() {
	why, err := c.ExplainLock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range why.Steps {
		fmt.Printf("%s by session %d for %v\n", step.Blocker.Name, step.Blocker.SessionID, step.Age)
	}
}

// A detached grant outlives the process that acquired it.
func ExampleClient_AcquireDetached() {
	d, err := c.AcquireDetached(ctx, c.Lock("deploy"), holdfast.WithDetachedTTL(10*time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("holdfast release", d.ID)
}
