// Readwrite shares a lock between readers and keeps writers alone.
//
//	go run ./readwrite/go             against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
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
	catalog := c.Lock("catalog")

	first, err := catalog.Shared().Acquire(ctx)
	if err != nil {
		return err
	}
	second, err := catalog.Shared().Acquire(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "two readers hold it together")

	if _, ok, err := catalog.TryAcquire(ctx); err != nil || ok {
		return fmt.Errorf("a writer beside readers: %t, %w", ok, err)
	}
	fmt.Fprintln(out, "a writer has to wait")

	if err := second.Release(ctx); err != nil {
		return err
	}
	if err := first.Upgrade(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "the last reader upgrades, and writes")

	if err := first.Downgrade(ctx); err != nil {
		return err
	}
	third, err := catalog.Shared().Acquire(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "it downgrades, and another reader comes in")

	if err := third.Release(ctx); err != nil {
		return err
	}
	return first.Release(ctx)
}
