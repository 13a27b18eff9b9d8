package rpc

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-dev/holdfast/proto/codec"
	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// A request that cannot be decoded shall get an error of the catalogue like every other, with the
// field at fault. connect would wrap what Unmarshal returns in words of its own and drop the
// detail, so our codecs do not fail: they leave the error in the message as an unknown field with
// a number that no message has, and an interceptor turns it into the answer before any handler
// sees the message. Unknown fields of callers are dropped, so none can put such an error there.
const undecodable protowire.Number = 1<<29 - 1

func leaveError(message proto.Message, detail *v1.Error) error {
	data, err := proto.Marshal(detail)
	if err != nil {
		return err
	}
	proto.Reset(message)
	field := protowire.AppendTag(nil, undecodable, protowire.BytesType)
	message.ProtoReflect().SetUnknown(protowire.AppendBytes(field, data))
	return nil
}

// decodeError finds the error that a codec left in a message.
func decodeError(message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return nil
	}
	unknown := m.ProtoReflect().GetUnknown()
	number, _, n := protowire.ConsumeTag(unknown)
	if n < 0 || number != undecodable {
		return nil
	}
	data, n := protowire.ConsumeBytes(unknown[n:])
	detail := &v1.Error{}
	if n < 0 || proto.Unmarshal(data, detail) != nil {
		return connectError(fail(v1.ErrorReason_ERROR_REASON_INTERNAL))
	}
	return connectError(detail)
}

// jsonCodec reads JSON strictly: unknown fields are refused by name.
type jsonCodec struct{ name string }

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend writes one line of JSON. protojson varies its spacing on purpose; it is taken out.
func (c jsonCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", message)
	}
	start := len(dst)
	dst, err := protojson.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return nil, err
	}
	return append(dst[:start+compact(dst[start:])], '\n'), nil
}

// compact takes the spaces outside of strings out of valid JSON, in place, and returns its length.
func compact(data []byte) int {
	n, text, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case c == '"':
			text = !text
		case c == '\\':
			escaped = true
		case c == ' ' && !text:
			continue
		}
		data[n] = c
		n++
	}
	return n
}

func (c jsonCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", message)
	}
	if err := (protojson.UnmarshalOptions{RecursionLimit: jsonDepthMax}).Unmarshal(data, m); err != nil {
		return leaveError(m, explainJSON(data, m.ProtoReflect().Descriptor()))
	}
	return nil
}

// protoCodec reads the binary form. Fields that this server does not know are left out, so that
// clients may be newer than it.
type protoCodec struct{ codec.Proto }

func (c protoCodec) Unmarshal(data []byte, message any) error {
	err := c.Proto.Unmarshal(data, message)
	m, ok := message.(proto.Message)
	if err == nil || !ok {
		return err
	}
	detail := notA(m.ProtoReflect().Descriptor())
	detail.Hint = "the bytes are not a protobuf message of this type, or a text is not UTF-8"
	return leaveError(m, detail)
}

func codecOptions() connect.HandlerOption {
	return connect.WithHandlerOptions(
		connect.WithCodec(jsonCodec{"json"}),
		connect.WithCodec(jsonCodec{"json; charset=utf-8"}),
		connect.WithCodec(protoCodec{}),
		connect.WithInterceptors(decodeGuard{}),
	)
}

// decodeGuard answers requests that a codec could not decode.
type decodeGuard struct{}

func (decodeGuard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if err := decodeError(request.Any()); err != nil {
			return nil, err
		}
		return next(ctx, request)
	}
}

func (decodeGuard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler guards the first message of a stream, which connect receives for us.
func (decodeGuard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, stream connect.StreamingHandlerConn) error {
		return next(ctx, guardedStream{stream})
	}
}

type guardedStream struct{ connect.StreamingHandlerConn }

func (s guardedStream) Receive(message any) error {
	if err := s.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	return decodeError(message)
}
