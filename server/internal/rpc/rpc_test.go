package rpc

import (
	"errors"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// detailOf gives the error of the catalogue that an error carries.
func detailOf(t *testing.T, err error) *v1.Error {
	t.Helper()
	var failed *connect.Error
	if !errors.As(err, &failed) || len(failed.Details()) != 1 {
		t.Fatalf("not an error with one detail: %v", err)
	}
	value, err := failed.Details()[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	detail, ok := value.(*v1.Error)
	if !ok {
		t.Fatalf("detail is a %T", value)
	}
	return detail
}
