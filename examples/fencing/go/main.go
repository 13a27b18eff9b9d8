// Fencing writes to a SQL database under a lock, and shows what the token is for: a worker that was
// paused while it held the lock wakes up after somebody else got it, and its write is refused by the
// database.
//
//	go run ./fencing/go               against http://127.0.0.1:7480, or $HOLDFAST_ENDPOINTS
package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite"

	holdfast "github.com/holdfast-dev/holdfast/sdk-go"
	"github.com/holdfast-dev/holdfast/sdk-go/fence"
)

const resource = "accounts/7"

func main() {
	endpoints := cmp.Or(os.Getenv("HOLDFAST_ENDPOINTS"), "http://127.0.0.1:7480")
	if err := run(context.Background(), strings.Split(endpoints, ","), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, endpoints []string, out io.Writer) error {
	db, remove, err := openDatabase(ctx)
	if err != nil {
		return err
	}
	defer remove()

	sleepy, err := holdfast.New(ctx, holdfast.Endpoints(endpoints...))
	if err != nil {
		return err
	}
	defer sleepy.Close(ctx)
	brisk, err := holdfast.New(ctx, holdfast.Endpoints(endpoints...))
	if err != nil {
		return err
	}
	defer brisk.Close(ctx)

	// A short lease stands for a pause that outlasts a session: the lock ends while its holder sleeps.
	paused, err := sleepy.Lock(resource).Acquire(ctx, holdfast.WithLease(300*time.Millisecond))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "sleepy holds the lock, and pauses")

	h, err := brisk.Lock(resource).Acquire(ctx)
	if err != nil {
		return err
	}
	defer h.Release(ctx)
	if err := deposit(ctx, db, h.Token(), 100); err != nil {
		return err
	}
	fmt.Fprintln(out, "brisk got the lock, and deposits 100")

	// Sleepy wakes up. It does not look at paused.Check(), as a program that is in the middle of a
	// write cannot; the database looks at the token.
	err = deposit(ctx, db, paused.Token(), 999)
	if !errors.Is(err, fence.ErrStale) {
		return fmt.Errorf("a stale write went through: %w", err)
	}
	fmt.Fprintln(out, "sleepy wakes up and deposits 999: refused, its token is stale")

	balance := 0
	if err := db.QueryRowContext(ctx, `SELECT balance FROM accounts WHERE id = 7`).Scan(&balance); err != nil {
		return err
	}
	fmt.Fprintf(out, "balance: %d\n", balance)
	return nil
}

// deposit checks the token and writes in one transaction.
func deposit(ctx context.Context, db *sql.DB, token int64, amount int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	if err := (fence.SQL{}).Check(ctx, tx, resource, token, fence.Write); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx,
		`UPDATE accounts SET balance = balance + ? WHERE id = 7`, amount); err != nil {
		return err
	}
	return tx.Commit()
}

// openDatabase makes a SQLite database in a directory of its own.
func openDatabase(ctx context.Context) (db *sql.DB, remove func(), err error) {
	dir, err := os.MkdirTemp("", "holdfast-fencing-")
	if err != nil {
		return nil, nil, err
	}
	db, err = sql.Open("sqlite", filepath.Join(dir, "bank.db"))
	if err != nil {
		return nil, nil, err
	}
	remove = func() {
		db.Close()
		os.RemoveAll(dir)
	}
	if err := (fence.SQL{}).CreateTable(ctx, db); err != nil {
		remove()
		return nil, nil, err
	}
	_, err = db.ExecContext(ctx, `
		CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
		INSERT INTO accounts VALUES (7, 0);`)
	if err != nil {
		remove()
		return nil, nil, err
	}
	return db, remove, nil
}
