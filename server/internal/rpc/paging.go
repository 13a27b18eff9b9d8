package rpc

import (
	"encoding/base64"
	"strconv"
	"strings"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// A page token says after which item the next page begins. To callers it is opaque; inside is a
// letter that says of what, and the last name or id of the page before.

const tokenLimit = "give back the one of the page before"

func pageToken(kind, last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(kind + ":" + last))
}

// pageAfter reads a page token; empty begins with the first page.
func (p place) pageAfter(kind, token string) (string, *v1.Error) {
	if err := p.text("page_token", token, pageTokenMax); err != nil || token == "" {
		return "", err
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	last, ok := strings.CutPrefix(string(data), kind+":")
	if err != nil || !ok || last == "" {
		return "", p.invalid("page_token", "not a page token of this list", tokenLimit)
	}
	return last, nil
}

const (
	lockPages    = "l"
	sessionPages = "s"
)

func (p place) lockAfter(token string) (string, *v1.Error) {
	last, err := p.pageAfter(lockPages, token)
	if err == nil && last != "" && locktable.ValidateName(last) != nil {
		err = p.invalid("page_token", "not a page token of this list", tokenLimit)
	}
	return last, err
}

func (p place) sessionAfter(token string) (locktable.SessionID, *v1.Error) {
	last, err := p.pageAfter(sessionPages, token)
	if err != nil || last == "" {
		return 0, err
	}
	id, parseErr := strconv.ParseUint(last, 10, 64)
	if parseErr != nil {
		return 0, p.invalid("page_token", "not a page token of this list", tokenLimit)
	}
	return locktable.SessionID(id), nil
}
