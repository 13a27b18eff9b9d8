package shapebench

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// codecs is codec with the client's two steps written by hand too, which an SDK can do without
// anybody else noticing.
type codecs struct{ codec }

func (codecs) client(ops []op) []byte {
	b := make([]byte, 0, 16+48*len(ops))
	b = appendVarint(b, 1, session)
	b = appendVarint(b, 2, 99_000)
	var inner, outer [700]byte
	for _, o := range ops {
		var operation []byte
		if o.grant != 0 {
			body := appendVarint(inner[:0], releaseGrant, uint64(o.grant))
			body = appendVarint(body, releaseRequest, o.request)
			operation = appendBytes(outer[:0], opRelease, body)
		} else {
			body := appendString(inner[:0], acquireName, o.name)
			body = appendVarint(body, 2, 5)
			body = protowire.AppendTag(body, acquireWait, protowire.BytesType)
			seconds, nanos := uint64(o.wait/1000), uint64(o.wait%1000)*1_000_000
			size := 0
			if seconds != 0 {
				size += 1 + protowire.SizeVarint(seconds)
			}
			if nanos != 0 {
				size += 1 + protowire.SizeVarint(nanos)
			}
			body = protowire.AppendVarint(body, uint64(size))
			body = appendVarint(body, 1, seconds)
			body = appendVarint(body, 2, nanos)
			body = appendString(body, acquireOwner, o.owner)
			body = appendVarint(body, acquireRequest, o.request)
			operation = appendBytes(outer[:0], opAcquire, body)
		}
		b = appendBytes(b, executeOperations, operation)
	}
	return b
}

func (codecs) read(response []byte, into []result, _ []op) []result {
	var deadline int64
	fields(response, func(num protowire.Number, _ uint64, data []byte) {
		switch num {
		case 1:
			var out result
			fields(data, func(num protowire.Number, _ uint64, data []byte) {
				readResult(&out, num == 2, data)
			})
			into = append(into, out)
		case 2:
			fields(data, func(_ protowire.Number, n uint64, _ []byte) { deadline = int64(n) })
		}
	})
	for i := range into {
		into[i].session = deadline
	}
	return into
}

func readResult(out *result, acquire bool, data []byte) {
	fields(data, func(num protowire.Number, n uint64, data []byte) {
		switch {
		case acquire && num == 1:
			out.granted = n == 1
		case acquire && num == 3:
			fields(data, func(num protowire.Number, n uint64, _ []byte) {
				switch num {
				case 1:
					out.grant = int64(n)
				case 2:
					out.token = int64(n)
				case 4:
					out.depth = uint32(n)
				}
			})
		case acquire && num == 10, !acquire && num == 2:
			fields(data, func(num protowire.Number, n uint64, _ []byte) {
				switch num {
				case 1:
					out.index = n
				case 2:
					out.offset = uint32(n)
				case 3:
					out.time = int64(n)
				}
			})
		}
	})
}
