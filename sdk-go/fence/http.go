package fence

import (
	"fmt"
	"net/http"
	"strconv"
)

// Header carries the token of the lock under which a request is made, in decimal.
const Header = "Holdfast-Token"

// SetHeader puts a token into the header of a request.
func SetHeader(h http.Header, token int64) { h.Set(Header, strconv.FormatInt(token, 10)) }

// FromHeader reads the token of a request.
func FromHeader(h http.Header) (int64, error) {
	text := h.Get(Header)
	token, err := strconv.ParseInt(text, 10, 64)
	if err != nil || token <= 0 {
		return 0, fmt.Errorf("header %s: %q is not a token", Header, text)
	}
	return token, nil
}

// Checker is what Handler checks with; *Guard is one.
type Checker interface {
	Check(resource string, token int64, access Access) error
}

// Handler lets requests through whose token is not stale. GET, HEAD and OPTIONS are reads, everything
// else writes. It answers 428 Precondition Required without a token and 412 Precondition Failed with
// a stale one. resource names what a request is about.
func Handler(guard Checker, resource func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := FromHeader(r.Header)
		if err != nil {
			http.Error(w, err.Error(), http.StatusPreconditionRequired)
			return
		}
		access := Write
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			access = Read
		}
		if err := guard.Check(resource(r), token, access); err != nil {
			http.Error(w, err.Error(), http.StatusPreconditionFailed)
			return
		}
		next.ServeHTTP(w, r)
	})
}
