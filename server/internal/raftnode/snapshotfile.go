package raftnode

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// What is in a snapshot: a head (magic, version, applied index, state hash), then frames (length,
// CRC-32C, bytes) with the table, then a frame of length 0 with the number of bytes of all others.
const (
	snapshotMagic   = "HFSN"
	snapshotVersion = 1
	snapshotHead    = len(snapshotMagic) + 1 + 8 + 8
	frameMax        = 256 << 10
)

// snapshotInfo is the head of a snapshot.
type snapshotInfo struct {
	index uint64
	hash  uint64
}

// frameWriter cuts a stream into frames.
type frameWriter struct {
	to    io.Writer
	buf   []byte
	total uint64
}

func newFrameWriter(to io.Writer, info snapshotInfo) (*frameWriter, error) {
	head := append([]byte(snapshotMagic), snapshotVersion)
	head = binary.BigEndian.AppendUint64(head, info.index)
	head = binary.BigEndian.AppendUint64(head, info.hash)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	_, err := to.Write(head)
	return &frameWriter{to: to, buf: make([]byte, 8, 8+frameMax)}, err
}

func (w *frameWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		written += n
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (w *frameWriter) flush() error {
	body := w.buf[8:]
	binary.BigEndian.PutUint32(w.buf, uint32(len(body)))
	binary.BigEndian.PutUint32(w.buf[4:], crc32.Checksum(body, castagnoli))
	w.total += uint64(len(body))
	_, err := w.to.Write(w.buf)
	w.buf = w.buf[:8]
	return err
}

// finish writes the last frames.
func (w *frameWriter) finish() error {
	if len(w.buf) > 8 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	end := binary.BigEndian.AppendUint64(make([]byte, 4, 16), w.total)
	end = binary.BigEndian.AppendUint32(end, crc32.Checksum(end, castagnoli))
	_, err := w.to.Write(end)
	return err
}

// frameReader gives the stream back, and fails at the first byte that is not as it was written.
type frameReader struct {
	from  *bufio.Reader
	info  snapshotInfo
	buf   []byte
	rest  []byte
	total uint64
	ended bool
}

func newFrameReader(from io.Reader) (*frameReader, error) {
	r := &frameReader{from: bufio.NewReaderSize(from, 64<<10), buf: make([]byte, frameMax)}
	var head [snapshotHead + 4]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return nil, damagef("snapshot ends in its head: %w", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, damagef("snapshot begins with the wrong bytes")
	}
	if v := head[len(snapshotMagic)]; v > snapshotVersion {
		return nil, newerf("snapshot has version %d; this version knows %d", v, snapshotVersion)
	}
	if crc32.Checksum(head[:snapshotHead], castagnoli) != binary.BigEndian.Uint32(head[snapshotHead:]) {
		return nil, damagef("head of the snapshot does not match its checksum")
	}
	r.info.index = binary.BigEndian.Uint64(head[len(snapshotMagic)+1:])
	r.info.hash = binary.BigEndian.Uint64(head[len(snapshotMagic)+9:])
	return r, nil
}

func (r *frameReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *frameReader) next() error {
	var head [8]byte
	if _, err := io.ReadFull(r.from, head[:4]); err != nil {
		return cut(err)
	}
	size := binary.BigEndian.Uint32(head[:4])
	if size == 0 {
		return r.end()
	}
	if size > frameMax {
		return damagef("snapshot has a frame of %d bytes", size)
	}
	if _, err := io.ReadFull(r.from, head[4:]); err != nil {
		return cut(err)
	}
	body := r.buf[:size]
	if _, err := io.ReadFull(r.from, body); err != nil {
		return cut(err)
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return damagef("snapshot does not match its checksum after %d bytes", r.total)
	}
	r.total += uint64(size)
	r.rest = body
	return nil
}

func (r *frameReader) end() error {
	var end [16]byte // the first four are the length that was read, 0
	if _, err := io.ReadFull(r.from, end[4:]); err != nil {
		return cut(err)
	}
	if crc32.Checksum(end[:12], castagnoli) != binary.BigEndian.Uint32(end[12:]) ||
		binary.BigEndian.Uint64(end[4:]) != r.total {
		return damagef("end of the snapshot does not match its content")
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return damagef("snapshot goes on after its end")
	}
	r.ended = true
	return nil
}

func cut(err error) error { return damagef("snapshot is cut off: %w", err) }
