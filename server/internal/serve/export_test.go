package serve_test

import (
	"errors"

	"connectrpc.com/connect"
)

func asConnect(err error, into **connect.Error) bool { return errors.As(err, into) }
