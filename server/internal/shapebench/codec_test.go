package shapebench

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// codec is the contract as it is, byte for byte, with the server's four steps written by hand for
// the fields that matter instead of going through generated messages. A real one would also carry
// the rare fields, which cost nothing where they are absent.
type codec struct{ messages }

// Field numbers of the contract.
const (
	executeOperations = 3
	opAcquire         = 1
	opRelease         = 2

	acquireName    = 1
	acquireWait    = 4
	acquireOwner   = 6
	acquireRequest = 7

	releaseGrant   = 1
	releaseRequest = 3
)

// fields calls visit for each field of a message, with the number of a varint or the bytes of a
// length-delimited one.
func fields(b []byte, visit func(num protowire.Number, n uint64, data []byte)) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		check(protowire.ParseError(n))
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			check(protowire.ParseError(n))
			visit(num, v, nil)
			b = b[n:]
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			check(protowire.ParseError(n))
			visit(num, 0, v)
			b = b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			check(protowire.ParseError(n))
			b = b[n:]
		}
	}
}

func (codec) leader(request []byte) ([]locktable.Command, []byte) {
	cmds := make([]locktable.Command, 0, 16)
	fields(request, func(num protowire.Number, _ uint64, data []byte) {
		if num != executeOperations {
			return
		}
		var o op
		fields(data, func(num protowire.Number, _ uint64, data []byte) {
			switch num {
			case opAcquire:
				o = readAcquire(data)
			case opRelease:
				o = readRelease(data, releaseRequest, releaseGrant)
			}
		})
		cmds = append(cmds, command(o))
	})
	return cmds, appendEntry(make([]byte, 0, 64+96*len(cmds)), cmds)
}

func readAcquire(data []byte) op {
	var o op
	fields(data, func(num protowire.Number, n uint64, data []byte) {
		switch num {
		case acquireName:
			o.name = string(data)
			checkName(o.name)
		case acquireOwner:
			o.owner = string(data)
		case acquireRequest:
			o.request = n
		case acquireWait:
			fields(data, func(num protowire.Number, n uint64, _ []byte) {
				if num == 1 {
					o.wait += int64(n) * 1000
				} else {
					o.wait += int64(n) / 1_000_000
				}
			})
		}
	})
	return o
}

func readRelease(data []byte, request, grant protowire.Number) op {
	var o op
	fields(data, func(num protowire.Number, n uint64, _ []byte) {
		switch num {
		case request:
			o.request = n
		case grant:
			o.grant = int64(n)
		}
	})
	return o
}

// appendEntry writes what proto.Marshal writes for logEntry(cmds).
func appendEntry(b []byte, cmds []locktable.Command) []byte {
	b = appendVarint(b, 1, 1)
	b = appendVarint(b, 2, stamp)
	var scratch, inner [512]byte
	for _, c := range cmds {
		cmd := appendString(scratch[:0], 1, caller(c).Principal)
		body := appendVarint(inner[:0], 1, uint64(caller(c).Session))
		body = appendVarint(body, 2, caller(c).Request)
		body = appendVarint(body, 3, caller(c).Acked)
		switch c := c.(type) {
		case *locktable.Acquire:
			body = appendString(body, 4, c.Owner)
			for _, claim := range c.Claims {
				size := 2 + protowire.SizeBytes(len(claim.Name)) + 1
				body = protowire.AppendTag(body, 5, protowire.BytesType)
				body = protowire.AppendVarint(body, uint64(size))
				body = appendString(body, 1, claim.Name)
				body = appendVarint(body, 2, uint64(claim.Mode))
			}
			body = appendVarint(body, 6, uint64(c.WaitLimit))
			cmd = protowire.AppendTag(cmd, 5, protowire.BytesType)
		case *locktable.Release:
			body = appendVarint(body, 4, uint64(c.Grant))
			cmd = protowire.AppendTag(cmd, 6, protowire.BytesType)
		}
		cmd = protowire.AppendBytes(cmd, body)
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendBytes(b, cmd)
	}
	b = protowire.AppendTag(b, 4, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, proposal)
}

func caller(c locktable.Command) locktable.Caller {
	switch c := c.(type) {
	case *locktable.Acquire:
		return c.Caller
	case *locktable.Release:
		return c.Caller
	}
	panic("unreachable: the batch has acquires and releases")
}

func (codec) replica(entry []byte) []locktable.Command {
	cmds := make([]locktable.Command, 0, 16)
	fields(entry, func(num protowire.Number, _ uint64, data []byte) {
		if num != 3 {
			return
		}
		var o op
		fields(data, func(num protowire.Number, _ uint64, data []byte) {
			switch num {
			case 5:
				o = readLogAcquire(data)
			case 6:
				o = readRelease(data, 2, 4)
			}
		})
		cmds = append(cmds, command(o))
	})
	return cmds
}

func readLogAcquire(data []byte) op {
	var o op
	fields(data, func(num protowire.Number, n uint64, data []byte) {
		switch num {
		case 2:
			o.request = n
		case 4:
			o.owner = string(data)
		case 5:
			fields(data, func(num protowire.Number, _ uint64, data []byte) {
				if num == 1 {
					o.name = string(data)
				}
			})
		case 6:
			o.wait = int64(n)
		}
	})
	return o
}

// answer writes what proto.Marshal writes for the response of messages.answer.
func (codec) answer(cmds []locktable.Command, first uint64) []byte {
	b := make([]byte, 0, 64+128*len(cmds))
	var op, resp, grant, sub [512]byte
	for i, c := range cmds {
		at := appendVarint(sub[:0], 1, index)
		at = appendVarint(at, 2, uint64(i))
		at = appendVarint(at, 3, stamp)
		var result []byte
		switch c := c.(type) {
		case *locktable.Acquire:
			r := appendVarint(resp[:0], 1, 1)
			g := appendVarint(grant[:0], 1, first+uint64(i))
			g = appendVarint(g, 2, first+uint64(i))
			size := 2 + protowire.SizeBytes(len(c.Claims[0].Name)) + 1
			g = protowire.AppendTag(g, 3, protowire.BytesType)
			g = protowire.AppendVarint(g, uint64(size))
			g = appendString(g, 1, c.Claims[0].Name)
			g = appendVarint(g, 2, uint64(c.Claims[0].Mode))
			g = appendVarint(g, 4, 1)
			g = appendMessage(g, 5, 1, stamp+ttlMillis)
			g = appendMessage(g, 6, 1, ttlMillis/1000)
			r = appendBytes(r, 3, g)
			r = appendBytes(r, 10, at)
			result = appendBytes(op[:0], 2, r)
		case *locktable.Release:
			result = appendBytes(op[:0], 3, appendBytes(resp[:0], 2, at))
		}
		b = appendBytes(b, 1, result)
	}
	b = appendMessage(b, 2, 1, stamp+ttlMillis)
	ref := appendString(sub[:0], 1, "0192f0c4-5a7e-7cc3-98c4-dc0c0c07398f")
	return appendBytes(b, 3, appendVarint(ref, 2, 1))
}

// appendMessage writes a message with one varint in it.
func appendMessage(b []byte, num, inner protowire.Number, v uint64) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeVarint(v)))
	return appendVarint(b, inner, v)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendString(b []byte, num protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), v)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}
