package raftnode

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	logv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/log/v1"
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

// Encode makes the frame of an entry.
func Encode(e Entry) ([]byte, error) {
	m := &logv1.Entry{
		SemanticsVersion: e.Version,
		StampMs:          e.Stamp,
		Proposal:         e.Proposal,
		Commands:         make([]*logv1.Command, len(e.Commands)),
	}
	for i, c := range e.Commands {
		wire, err := toWire(c)
		if err != nil {
			return nil, err
		}
		m.Commands[i] = wire
	}
	frame := make([]byte, frameHead, frameHead+proto.Size(m))
	frame, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(frame, m)
	if err != nil {
		return nil, fmt.Errorf("encode entry: %w", err)
	}
	frame[0] = frameVersion
	binary.BigEndian.PutUint32(frame[1:], crc32.Checksum(frame[frameHead:], castagnoli))
	return frame, nil
}

// Decode reads a frame. It fails on damage, and on whatever a newer version may have written.
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
	var m logv1.Entry
	if err := proto.Unmarshal(body, &m); err != nil {
		return Entry{}, damagef("entry cannot be read: %w", err)
	}
	if m.GetSemanticsVersion() > SemanticsMax {
		return Entry{}, newerf("entry is to be applied under semantics version %d; this version knows %d",
			m.GetSemanticsVersion(), SemanticsMax)
	}
	e := Entry{
		Proposal: m.GetProposal(),
		Version:  m.GetSemanticsVersion(),
		Stamp:    m.GetStampMs(),
		Commands: make([]locktable.Command, len(m.GetCommands())),
	}
	for i, wire := range m.GetCommands() {
		c, err := fromWire(wire)
		if err != nil {
			return Entry{}, fmt.Errorf("command %d of the entry: %w", i, err)
		}
		e.Commands[i] = c
	}
	return e, nil
}
