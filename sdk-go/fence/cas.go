package fence

import (
	"context"
	"fmt"
)

// Store is a key-value store that replaces a value only if it is still the one that was read: an
// object store with conditional writes, a database row with a version, a key with a revision.
type Store interface {
	// Get returns the value of a key and its version; a key that is not there has the value "".
	Get(ctx context.Context, key string) (value, version string, err error)
	// Put replaces the value if the version is still the present one, and says whether it did.
	Put(ctx context.Context, key, value, version string) (done bool, err error)
}

// CompareAndSet admits an access by a mark that is kept under a key of a store, or returns a
// *StaleError. If the data lives under the same key, keep the mark inside the value instead and
// apply Mark.Admit yourself, so that the check and the write are one.
func CompareAndSet(ctx context.Context, store Store, key string, token int64, access Access) error {
	for {
		text, version, err := store.Get(ctx, key)
		if err != nil {
			return fmt.Errorf("fence %s: %w", key, err)
		}
		old, err := ParseMark(text)
		if err != nil {
			return fmt.Errorf("fence %s: %w", key, err)
		}
		mark, ok := old.Admit(token, access)
		if !ok {
			return &StaleError{Resource: key, Token: token, Newer: old.Seen}
		}
		if mark == old {
			return nil
		}
		done, err := store.Put(ctx, key, mark.String(), version)
		if err != nil {
			return fmt.Errorf("fence %s: %w", key, err)
		}
		if done {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("fence %s: %w", key, err)
		}
	}
}
