// Package codec is the binary form of the contract for those who send many messages: what proto.Marshal
// and proto.Unmarshal do, with forms written by hand (see package wire) for the messages of which there
// are many. All others, and whatever the forms cannot read or write, go the usual way, so that errors
// are the usual ones, too.
//
// Fields that this version does not know are left out, not kept.
//
// The memory of what is read comes in a few pieces for a whole message, its texts in one. Who keeps a
// small part of a large message for long should keep a copy.
package codec

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/proto/wire"
)

// Proto is a codec of connect's, under the name of the one it takes the place of.
type Proto struct{}

// Name is how it is called in content types.
func (Proto) Name() string { return "proto" }

// Marshal writes a message.
func (c Proto) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend writes a message behind what is in dst.
func (Proto) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", message)
	}
	return MarshalAppend(dst, m)
}

// Unmarshal reads a message.
func (Proto) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", message)
	}
	return Unmarshal(data, m)
}

// MarshalAppend writes a message behind what is in dst.
func MarshalAppend(dst []byte, m proto.Message) ([]byte, error) {
	f := take(wire.Writer(dst))
	defer f.giveBack()
	if f.message(m) && f.Err() == nil {
		return f.Bytes(), nil
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// Unmarshal reads a message.
func Unmarshal(data []byte, m proto.Message) error {
	f := take(wire.Reader(data))
	defer f.giveBack()
	if proto.Reset(m); f.message(m) && f.Err() == nil {
		return nil
	}
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
}

var forms = sync.Pool{New: func() any { return new(form) }}

func take(w wire.Wire) *form {
	f := forms.Get().(*form)
	f.Wire = w
	return f
}

func (f *form) giveBack() {
	if f.Reading() {
		*f = form{} // else nothing else was used
	}
	f.Wire = wire.Wire{}
	forms.Put(f)
}

// message writes or reads a message, and tells whether it has a form.
func (f *form) message(message proto.Message) bool {
	switch m := message.(type) {
	case *v1.ExecuteRequest:
		whole(f, m, (*form).executeRequest)
	case *v1.ExecuteResponse:
		whole(f, m, (*form).executeResponse)
	case *v1.AcquireRequest:
		whole(f, m, (*form).acquireRequest)
	case *v1.AcquireResponse:
		whole(f, m, (*form).acquireResponse)
	case *v1.ReleaseRequest:
		whole(f, m, (*form).releaseRequest)
	case *v1.ReleaseResponse:
		whole(f, m, (*form).releaseResponse)
	case *v1.ConvertRequest:
		whole(f, m, (*form).convertRequest)
	case *v1.ConvertResponse:
		whole(f, m, (*form).convertResponse)
	case *v1.RenewRequest:
		whole(f, m, (*form).renewRequest)
	case *v1.RenewResponse:
		whole(f, m, (*form).renewResponse)
	case *v1.CancelRequest:
		whole(f, m, (*form).cancelRequest)
	case *v1.CancelResponse:
		whole(f, m, (*form).cancelResponse)
	case *v1.RenewSessionRequest:
		whole(f, m, (*form).renewSessionRequest)
	case *v1.RenewSessionResponse:
		whole(f, m, (*form).renewSessionResponse)
	case *v1.EventsResponse:
		whole(f, m, (*form).eventsResponse)
	default:
		return false
	}
	return true
}

func whole[M any](f *form, m *M, of func(*form, *M)) {
	if !f.Reading() {
		of(f, m)
		return
	}
	for f.Next() {
		of(f, m)
	}
}
