package raftnode

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// wire writes and reads messages of holdfast.log.v1, straight from and to the types of the lock
// table. The form of a message is one function that names its fields in order; it goes both ways, so
// that what is written and what is read cannot come apart. What comes out is what the generated code
// writes, byte by byte, and what goes in is understood as it would.
//
// Reading, a field is at hand at any time. Its form takes it if it names its number; a form is gone
// through again for as long as it takes something, and what it does not take is skipped.
type wire struct {
	reading bool
	err     error // the first one; nothing is done after it

	b    []byte // what has been written, or all there is to read
	text string // the same, from which texts are cut

	pos, end int              // what is left of the message that is being read
	number   protowire.Number // of the field at hand, 0 if there is none
	kind     protowire.Type
	value    uint64 // if it is a number
	from, to int    // if it has a length: where its bytes are
	taken    bool   // something was taken since next

	command command // the one that is being written or read
	slabs   slabs
}

func reader(b []byte) *wire { return &wire{reading: true, b: b, end: len(b)} }

func (w *wire) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.number = 0
}

// next tells whether the message that is read has a field left that its form may take.
func (w *wire) next() bool {
	if w.number == 0 || !w.taken {
		w.advance()
	}
	w.taken = false
	return w.number != 0
}

// took lets go of the field at hand for the one after it.
func (w *wire) took() {
	w.taken = true
	w.advance()
}

// advance reads the next field of the message.
func (w *wire) advance() {
	w.number = 0
	if w.pos >= w.end || w.err != nil {
		return
	}
	rest := w.b[w.pos:w.end]
	tag, n := consumeVarint(rest)
	number, kind := protowire.Number(tag>>3), protowire.Type(tag&7)
	if n < 0 || tag>>3 < uint64(protowire.MinValidNumber) || tag>>3 > uint64(protowire.MaxValidNumber) {
		w.fail(damagef("entry cannot be read: no field at byte %d", w.pos))
		return
	}
	size := 0
	switch kind {
	case protowire.VarintType:
		w.value, size = consumeVarint(rest[n:])
	case protowire.Fixed64Type:
		w.value, size = protowire.ConsumeFixed64(rest[n:])
	case protowire.BytesType:
		var body []byte
		body, size = protowire.ConsumeBytes(rest[n:])
		w.to = w.pos + n + size
		w.from = w.to - len(body)
	default: // no field of ours
		size = protowire.ConsumeFieldValue(number, kind, rest[n:])
	}
	if size < 0 {
		w.fail(damagef("entry cannot be read: field at byte %d: %w", w.pos, protowire.ParseError(size)))
		return
	}
	w.pos += n + size
	w.number, w.kind = number, kind
}

// consumeVarint is protowire's, with a short way for the small numbers that most are.
func consumeVarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

// tag writes what a field begins with.
func (w *wire) tag(n protowire.Number, kind protowire.Type) {
	w.b = protowire.AppendVarint(w.b, protowire.EncodeTag(n, kind))
}

// has tells whether the field at hand has this number and form.
func (w *wire) has(n protowire.Number, kind protowire.Type) bool {
	return w.number == n && w.kind == kind
}

// run counts the fields with a length and the number of the one at hand that follow each other.
func (w *wire) run() int {
	k := 1
	for pos := w.pos; ; k++ {
		tag, n := protowire.ConsumeVarint(w.b[pos:w.end])
		if n < 0 || tag != protowire.EncodeTag(w.number, protowire.BytesType) {
			return k
		}
		size := protowire.ConsumeFieldValue(w.number, protowire.BytesType, w.b[pos+n:w.end])
		if size < 0 {
			return k
		}
		pos += n + size
	}
}

// message is a field that is a message: form names its fields, and m is where they are.
func message[M any](w *wire, n protowire.Number, m *M, form func(*wire, *M)) {
	if !w.reading {
		w.tag(n, protowire.BytesType)
		w.b = append(w.b, 0)
		start := len(w.b)
		form(w, m)
		w.close(start)
		return
	}
	if !w.has(n, protowire.BytesType) {
		return
	}
	pos, end := w.pos, w.end
	w.pos, w.end, w.number = w.from, w.to, 0
	for w.next() {
		form(w, m)
	}
	w.pos, w.end = pos, end
	w.took()
}

// close writes the length of the message that begins at start into the byte before it, and makes
// room if one is not enough.
func (w *wire) close(start int) {
	n := len(w.b) - start
	if more := protowire.SizeVarint(uint64(n)) - 1; more > 0 {
		w.b = append(w.b, make([]byte, more)...)
		copy(w.b[start+more:], w.b[start:start+n])
	}
	protowire.AppendVarint(w.b[:start-1], uint64(n))
}

// varint is a field that is a number. A number that is 0 is not written.
func (w *wire) varint(n protowire.Number, out uint64) (in uint64, ok bool) {
	if w.reading {
		if !w.has(n, protowire.VarintType) {
			return 0, false
		}
		in = w.value
		w.took()
		return in, true
	}
	if out != 0 {
		w.tag(n, protowire.VarintType)
		w.b = protowire.AppendVarint(w.b, out)
	}
	return 0, false
}

func number[T ~uint64 | ~uint32 | ~int64](w *wire, n protowire.Number, p *T) {
	if in, ok := w.varint(n, uint64(*p)); ok {
		*p = T(in)
	}
}

func (w *wire) zigzag(n protowire.Number, p *int32) {
	if in, ok := w.varint(n, uint64(uint32(*p<<1^*p>>31))); ok {
		*p = int32(protowire.DecodeZigZag(in & (1<<32 - 1)))
	}
}

func (w *wire) flag(n protowire.Number, p *bool) {
	if in, ok := w.varint(n, protowire.EncodeBool(*p)); ok {
		*p = protowire.DecodeBool(in)
	}
}

func (w *wire) releaseOwner(n protowire.Number, p *locktable.DeadlockAction) {
	if in, ok := w.varint(n, protowire.EncodeBool(*p == locktable.ReleaseOwner)); ok {
		*p = locktable.AbortWait
		if protowire.DecodeBool(in) {
			*p = locktable.ReleaseOwner
		}
	}
}

func (w *wire) mode(n protowire.Number, p *locktable.Mode) {
	if in, ok := w.varint(n, uint64(*p)); ok {
		*p = locktable.Mode(min(uint32(in), newerMode))
	}
}

func (w *wire) fixed64(n protowire.Number, p *uint64) {
	switch {
	case w.reading && w.has(n, protowire.Fixed64Type):
		*p = w.value
		w.took()
	case !w.reading && *p != 0:
		w.tag(n, protowire.Fixed64Type)
		w.b = protowire.AppendFixed64(w.b, *p)
	}
}

var errNoUTF8 = errors.New("a text is not UTF-8")

func (w *wire) string(n protowire.Number, p *string) {
	switch {
	case w.reading && w.has(n, protowire.BytesType):
		if w.text == "" {
			w.text = string(w.b)
		}
		*p = w.text[w.from:w.to]
		if !utf8.ValidString(*p) {
			w.fail(damagef("entry cannot be read: field at byte %d: %w", w.from, errNoUTF8))
			return
		}
		w.took()
	case !w.reading && *p != "":
		if !utf8.ValidString(*p) {
			w.fail(fmt.Errorf("%q: %w", *p, errNoUTF8))
			return
		}
		w.tag(n, protowire.BytesType)
		w.b = protowire.AppendString(w.b, *p)
	}
}
