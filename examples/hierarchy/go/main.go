// Hierarchy locks parts of a tree: a lock on a name covers everything below it.
//
//	go run ./hierarchy/go             against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
package main

import (
	"cmp"
	"context"
	"errors"
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

	// Two files of one project do not disturb each other: all at once or not at all.
	files, err := c.LockAll(ctx, c.Lock("projects/7/a.txt"), c.Lock("projects/7/b.txt"))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "two files of project 7 are locked")

	if err := expectHeld(c.Lock("projects/7").TryAcquire(ctx)); err != nil {
		return err
	}
	fmt.Fprintln(out, "project 7 as a whole has to wait for them")

	other, err := c.Lock("projects/70").Acquire(ctx)
	if err != nil {
		return err
	}
	defer other.Release(ctx)
	fmt.Fprintln(out, "project 70 is another name altogether")

	if err := files.Release(ctx); err != nil {
		return err
	}
	project, err := c.Lock("projects/7").Shared().Acquire(ctx)
	if err != nil {
		return err
	}
	defer project.Release(ctx)
	reader, err := c.Lock("projects/7/a.txt").Shared().Acquire(ctx)
	if err != nil {
		return err
	}
	defer reader.Release(ctx)
	if err := expectHeld(c.Lock("projects/7/a.txt").TryAcquire(ctx)); err != nil {
		return err
	}
	fmt.Fprintln(out, "while project 7 is shared, its files can be read and not written")
	return nil
}

func expectHeld(_ *holdfast.Handle, ok bool, err error) error {
	if ok {
		return errors.New("it should be held")
	}
	return err
}
