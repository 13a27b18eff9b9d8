package raftnode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/holdfast-dev/holdfast/proto/wire"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// Entry is one batch of commands on its way into the log.
type Entry struct {
	// Proposal is the number by which its proposer knows it again in Applied.
	Proposal uint64
	// Version is the semantics version it is applied under.
	Version uint32
	// Stamp is the cluster time proposed.
	Stamp locktable.Millis
	// Commands, in order.
	Commands []locktable.Command
}

// An entry in the log is a frame: format version (1 byte), CRC-32C of what follows (4 bytes, big
// endian), holdfast.log.v1.Entry.
const (
	frameVersion = 1
	frameHead    = 5
)

// drafts are buffers in which frames are written before they are copied to one of their size, which
// Raft keeps.
var drafts = sync.Pool{New: func() any { return new([]byte) }}

// Encode makes the frame of an entry.
func Encode(e Entry) ([]byte, error) {
	draft := drafts.Get().(*[]byte)
	defer drafts.Put(draft)
	f := form{Wire: wire.Writer(append((*draft)[:0], make([]byte, frameHead)...))}
	f.entry(&e)
	*draft = f.Bytes()
	if f.Err() != nil {
		return nil, fmt.Errorf("encode entry: %w", f.Err())
	}
	frame := bytes.Clone(f.Bytes())
	frame[0] = frameVersion
	binary.BigEndian.PutUint32(frame[1:], crc32.Checksum(frame[frameHead:], castagnoli))
	return frame, nil
}

// Decode reads a frame. It fails on damage, and on whatever a newer version may have written. All
// texts of an entry are cut from one piece of memory: who keeps one for long should keep a copy.
func Decode(frame []byte) (Entry, error) {
	if len(frame) < frameHead {
		return Entry{}, damagef("entry of %d bytes is too short", len(frame))
	}
	if frame[0] != frameVersion {
		if frame[0] > frameVersion {
			return Entry{}, newerf("entry has format %d; this version knows %d", frame[0], frameVersion)
		}
		return Entry{}, damagef("entry has format %d", frame[0])
	}
	body := frame[frameHead:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(frame[1:]) {
		return Entry{}, damagef("entry does not match its checksum")
	}
	var e Entry
	f := form{Wire: wire.Reader(body)}
	for f.Next() {
		f.entry(&e)
	}
	if e.Version > SemanticsMax {
		return Entry{}, newerf("entry is to be applied under semantics version %d; this version knows %d",
			e.Version, SemanticsMax)
	}
	var n newer
	switch err := f.Err(); {
	case errors.As(err, &n):
		return Entry{}, fmt.Errorf("entry: %w", err)
	case err != nil:
		return Entry{}, damagef("entry cannot be read: %w", err)
	}
	return e, nil
}
