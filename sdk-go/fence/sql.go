package fence

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// SQL keeps marks in a table of the database that holds the data, so that the check and the write
// are one transaction: check first, with the transaction that then writes, and commit both.
//
//	tx, err := db.BeginTx(ctx, nil)
//	err = guard.Check(ctx, tx, "accounts/7", h.Token(), fence.Write)
//	_, err = tx.ExecContext(ctx, `UPDATE accounts SET ...`)
//	err = tx.Commit()
//
// The statements are for SQLite and PostgreSQL. The zero value uses the table holdfast_fence and
// question marks.
type SQL struct {
	Table   string // holdfast_fence unless given; a name from your code, never from a user
	Dollars bool   // $1, $2 instead of ? (PostgreSQL)
}

// Execer is what *sql.DB, *sql.Tx and *sql.Conn have in common here.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// CreateTable makes the table if it is not there.
func (s SQL) CreateTable(ctx context.Context, db Execer) error {
	_, err := db.ExecContext(ctx, s.Schema())
	return err
}

// Schema is the statement that makes the table, for those who keep their migrations elsewhere.
func (s SQL) Schema() string {
	return fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (
	resource TEXT PRIMARY KEY,
	seen     BIGINT NOT NULL, -- the greatest token seen
	written  BIGINT NOT NULL  -- the greatest token seen with a write
)`, s.table())
}

// Check admits an access to a resource, or returns a *StaleError. Roll back if it returns an error.
func (s SQL) Check(ctx context.Context, tx Execer, resource string, token int64, access Access) error {
	if token <= 0 {
		return &StaleError{Resource: resource, Token: token}
	}
	query, written := s.Statement(access), int64(0)
	if access == Write {
		written = token
	}
	result, err := tx.ExecContext(ctx, query, resource, token, written)
	if err != nil {
		return fmt.Errorf("fence %s: %w", resource, err)
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("fence %s: %w", resource, err)
	}
	if rows == 0 {
		return &StaleError{Resource: resource, Token: token}
	}
	return nil
}

// Statement is the upsert that applies the rule; it changes no row if the access is refused. Its
// parameters are the resource, the token, and the token again for a write or 0 for a read.
func (s SQL) Statement(access Access) string {
	t := s.table()
	insert := fmt.Sprintf("INSERT INTO %s (resource, seen, written) VALUES (%s) ON CONFLICT (resource) ",
		t, s.values())
	if access == Write {
		return insert + fmt.Sprintf(
			"DO UPDATE SET seen = excluded.seen, written = excluded.written WHERE %s.seen <= excluded.seen", t)
	}
	return insert + fmt.Sprintf("DO UPDATE SET seen = CASE WHEN %[1]s.seen < excluded.seen "+
		"THEN excluded.seen ELSE %[1]s.seen END WHERE %[1]s.written <= excluded.seen", t)
}

func (s SQL) table() string {
	if s.Table == "" {
		return "holdfast_fence"
	}
	return s.Table
}

func (s SQL) values() string {
	if s.Dollars {
		return "$1, $2, $3"
	}
	return strings.Repeat("?, ", 2) + "?"
}
