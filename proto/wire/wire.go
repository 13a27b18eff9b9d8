// Package wire writes and reads protobuf messages straight from and to Go types of any make, without
// descriptions of them and without objects in between.
//
// A message has a form: one function that names its fields in order. It goes both ways, so that what
// is written and what is read cannot come apart:
//
//	func (c *codec) claim(m *Claim) {
//		c.String(1, &m.Name)
//		wire.Number(&c.Wire, 2, &m.Mode)
//	}
//
// What comes out is what the generated code of the Go library writes, byte by byte, and what goes in is
// understood as that would; fields without a name in the form are skipped. Packed fields and maps are
// not known here.
package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Wire is a message on its way. It is embedded by the type whose methods are the forms.
//
// Reading, a field is at hand at any time. Its form takes it if it names its number and type; a form is
// gone through again for as long as it takes something, and what it does not take is skipped.
type Wire struct {
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
}

// Writer gives what writes after the bytes of b.
func Writer(b []byte) Wire { return Wire{b: b} }

// Reader gives what reads a message. Its texts are cut from one copy of it.
func Reader(b []byte) Wire { return Wire{reading: true, b: b, end: len(b)} }

// Form is a type with a Wire in it.
type Form interface{ wire() *Wire }

func (w *Wire) wire() *Wire { return w }

// Reading tells the way it goes.
func (w *Wire) Reading() bool { return w.reading }

// Bytes are what has been written.
func (w *Wire) Bytes() []byte { return w.b }

// Err is the first thing that went wrong.
func (w *Wire) Err() error { return w.err }

// Fail ends the way with an error, if it has none yet.
func (w *Wire) Fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.number = 0
}

// Next tells whether the message that is read has a field left. The outermost form is called for as
// long as it does.
func (w *Wire) Next() bool {
	if w.number == 0 || !w.taken {
		w.advance()
	}
	w.taken = false
	return w.number != 0
}

// AtHand is the number of the field at hand, if that has a length.
func (w *Wire) AtHand() protowire.Number {
	if w.kind != protowire.BytesType {
		return 0
	}
	return w.number
}

// took lets go of the field at hand for the one after it.
func (w *Wire) took() {
	w.taken = true
	w.advance()
}

// advance reads the next field of the message.
func (w *Wire) advance() {
	w.number = 0
	if w.pos >= w.end || w.err != nil {
		return
	}
	rest := w.b[w.pos:w.end]
	tag, n := consumeVarint(rest)
	number, kind := protowire.Number(tag>>3), protowire.Type(tag&7)
	if n < 0 || tag>>3 < uint64(protowire.MinValidNumber) || tag>>3 > uint64(protowire.MaxValidNumber) {
		w.Fail(fmt.Errorf("no field at byte %d", w.pos))
		return
	}
	var size int
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
	default: // no form has such a field
		size = protowire.ConsumeFieldValue(number, kind, rest[n:])
	}
	if size < 0 {
		w.Fail(fmt.Errorf("field at byte %d: %w", w.pos, protowire.ParseError(size)))
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

// has tells whether the field at hand has this number and type.
func (w *Wire) has(n protowire.Number, kind protowire.Type) bool {
	return w.number == n && w.kind == kind
}

// Run counts the fields with a length and this number that follow each other from the one at hand on.
func (w *Wire) Run(n protowire.Number) int {
	if !w.has(n, protowire.BytesType) {
		return 0
	}
	k := 1
	for pos := w.pos; ; k++ {
		tag, n := consumeVarint(w.b[pos:w.end])
		if n < 0 || tag != protowire.EncodeTag(w.number, protowire.BytesType) {
			return k
		}
		length, m := consumeVarint(w.b[pos+n : w.end])
		if m < 0 || length > uint64(w.end-pos-n-m) {
			return k
		}
		pos += n + m + int(length)
	}
}

// tag writes what a field begins with.
func (w *Wire) tag(n protowire.Number, kind protowire.Type) {
	w.b = protowire.AppendVarint(w.b, protowire.EncodeTag(n, kind))
}

// Message is a field that is a message. It is written even if it has no fields; m may be nil then.
func Message[F Form, M any](f F, n protowire.Number, m *M, form func(F, *M)) {
	w := f.wire()
	if !w.reading {
		w.tag(n, protowire.BytesType)
		w.b = append(w.b, 0)
		if start := len(w.b); m != nil {
			form(f, m)
			w.close(start)
		}
		return
	}
	if !w.has(n, protowire.BytesType) {
		return
	}
	pos, end := w.pos, w.end
	w.pos, w.end, w.number = w.from, w.to, 0
	for w.Next() {
		form(f, m)
	}
	w.pos, w.end = pos, end
	w.took()
}

// close writes the length of the message that begins at start into the byte before it, and makes
// room if one is not enough.
func (w *Wire) close(start int) {
	n := len(w.b) - start
	if n < 0x80 {
		w.b[start-1] = byte(n)
		return
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	w.b = append(w.b, make([]byte, more)...)
	copy(w.b[start+more:], w.b[start:start+n])
	protowire.AppendVarint(w.b[:start-1], uint64(n))
}

// Raw is a field that somebody else writes and reads.
func (w *Wire) Raw(n protowire.Number, write func([]byte) ([]byte, error), read func([]byte) error) {
	if w.reading {
		if w.has(n, protowire.BytesType) {
			if err := read(w.b[w.from:w.to]); err != nil {
				w.Fail(err)
			}
			w.took()
		}
		return
	}
	w.tag(n, protowire.BytesType)
	w.b = append(w.b, 0)
	start := len(w.b)
	b, err := write(w.b)
	if err != nil {
		w.Fail(err)
		return
	}
	w.b = b
	w.close(start)
}

// Varint is a field that is a number; see Number. Reading, ok tells that it was at hand.
func (w *Wire) Varint(n protowire.Number, out uint64) (in uint64, ok bool) {
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

// Number is a field of an integer or enum type. Like all fields with a value, it is not written if it
// is zero.
func Number[T ~uint64 | ~uint32 | ~int64 | ~int32](w *Wire, n protowire.Number, p *T) {
	if in, ok := w.Varint(n, uint64(*p)); ok {
		*p = T(in)
	}
}

// Zigzag is a field of type sint32.
func (w *Wire) Zigzag(n protowire.Number, p *int32) {
	if in, ok := w.Varint(n, uint64(uint32(*p<<1^*p>>31))); ok {
		*p = int32(protowire.DecodeZigZag(in & (1<<32 - 1)))
	}
}

// Bool is a field of type bool.
func (w *Wire) Bool(n protowire.Number, p *bool) {
	if in, ok := w.Varint(n, protowire.EncodeBool(*p)); ok {
		*p = protowire.DecodeBool(in)
	}
}

// OptionalBool is a field of type bool that may be absent; it is written if it is there.
func (w *Wire) OptionalBool(n protowire.Number, p **bool) {
	if w.reading {
		if in, ok := w.Varint(n, 0); ok {
			value := protowire.DecodeBool(in)
			*p = &value
		}
		return
	}
	if *p != nil {
		w.tag(n, protowire.VarintType)
		w.b = protowire.AppendVarint(w.b, protowire.EncodeBool(**p))
	}
}

// Fixed64 is a field of type fixed64.
func (w *Wire) Fixed64(n protowire.Number, p *uint64) {
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

// String is a field of type string.
func (w *Wire) String(n protowire.Number, p *string) {
	switch {
	case w.reading && w.has(n, protowire.BytesType):
		if w.text == "" {
			w.text = string(w.b)
		}
		*p = w.text[w.from:w.to]
		if !utf8.ValidString(*p) {
			w.Fail(fmt.Errorf("field at byte %d: %w", w.from, errNoUTF8))
		}
		w.took()
	case !w.reading && *p != "":
		if !utf8.ValidString(*p) {
			w.Fail(fmt.Errorf("%q: %w", *p, errNoUTF8))
			return
		}
		w.tag(n, protowire.BytesType)
		w.b = protowire.AppendString(w.b, *p)
	}
}

// Slab is memory for many of a kind in one piece.
type Slab[T any] []T

// slabMost bounds a slab: what stays empty in a large one costs more than some more of them.
const slabMost = 16

// Cut gives the next n. About left more will be wanted, but not all of them: there are other kinds.
func (s *Slab[T]) Cut(n, left int) []T {
	if n > len(*s) {
		*s = make([]T, max(n, min((left+1)/2, slabMost)))
	}
	piece := (*s)[:n:n]
	*s = (*s)[n:]
	return piece
}

// One gives the next one.
func (s *Slab[T]) One(left int) *T { return &s.Cut(1, left)[0] }
