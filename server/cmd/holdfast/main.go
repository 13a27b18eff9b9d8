// Command holdfast is the whole of Holdfast in one binary: the server, a cluster for one's own
// machine, and everything a person or a script does with locks.
//
// Data goes to stdout and everything else to stderr, so that output can be piped; exit codes are
// listed in exit.go and in `holdfast help exit-codes`.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
