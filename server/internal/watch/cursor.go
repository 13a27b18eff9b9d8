package watch

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
)

// ErrCursor is the answer to a cursor that no node ever made.
var ErrCursor = errors.New("malformed cursor")

// place is a place in the total order of events: everything up to it has been seen.
type place struct {
	index uint64 // Raft index of a batch
	seq   uint32 // event of that batch, from 0; wholeBatch: all of them
}

const wholeBatch = math.MaxUint32

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.index, q.index), cmp.Compare(p.seq, q.seq))
}

// History is what indexes belong to. They mean nothing in another one.
type History struct {
	ClusterID string
	Epoch     uint32
}

const (
	cursorVersion  = 1
	clusterIDBytes = 128 // at most, in a cursor that is worth reading
)

// cursor writes a place for clients to give back. To them it is opaque; inside are a version, the
// epoch, the place, and the cluster id.
func (h History) cursor(p place) string {
	b := make([]byte, 0, 32+len(h.ClusterID))
	b = append(b, cursorVersion)
	b = binary.AppendUvarint(b, uint64(h.Epoch))
	b = binary.AppendUvarint(b, p.index)
	b = binary.AppendUvarint(b, uint64(p.seq))
	b = append(b, h.ClusterID...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads what cursor wrote.
func parseCursor(s string) (History, place, error) {
	if len(s) > base64.RawURLEncoding.EncodedLen(32+clusterIDBytes) {
		return History{}, place{}, ErrCursor
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != cursorVersion {
		return History{}, place{}, ErrCursor
	}
	b = b[1:]
	var fields [3]uint64
	for i := range fields {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return History{}, place{}, ErrCursor
		}
		fields[i], b = v, b[n:]
	}
	if fields[0] > math.MaxUint32 || fields[2] > math.MaxUint32 {
		return History{}, place{}, ErrCursor
	}
	return History{ClusterID: string(b), Epoch: uint32(fields[0])},
		place{index: fields[1], seq: uint32(fields[2])}, nil
}
