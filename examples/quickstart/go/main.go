// Quickstart holds a lock while it works, and gives it back.
//
//	go run ./quickstart/go            against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
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

	h, err := c.Lock("orders/42").Acquire(ctx)
	if err != nil {
		return err
	}
	defer h.Release(ctx)

	fmt.Fprintf(out, "holding %s\n", h.Name())
	return work(h.Context(), h.Token(), out)
}

// work stops when its context ends, which it does if the lock is lost, and hands the token to
// whatever it writes to: see the fencing example.
func work(ctx context.Context, token int64, out io.Writer) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fmt.Fprintf(out, "working with a token: %t\n", token > 0)
	return nil
}
