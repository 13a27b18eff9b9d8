package rpc

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
	"github.com/holdfast-dev/holdfast/server/internal/locktable"
)

// place is where in a request a message stands, so that an error can name a field by its path.
// The zero value is the request itself.
type place struct {
	operation int
	verb      string // of an operation; empty for the request itself
}

func (p place) path(field string) string {
	if p.verb == "" {
		return field
	}
	return fmt.Sprintf("operations[%d].%s.%s", p.operation, p.verb, field)
}

// invalid is the error of a field; limit may be empty.
func (p place) invalid(field, problem, limit string) *v1.Error {
	return p.refuse(v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, field, problem, limit)
}

func (p place) refuse(reason v1.ErrorReason, field, problem, limit string) *v1.Error {
	path := p.path(field)
	text := problem
	if limit != "" {
		text += "; " + limit
	}
	detail := fail(reason, path, text)
	detail.Field, detail.Limit = path, limit
	return detail
}

func (p place) name(field, name string) *v1.Error {
	return p.nameError(v1.ErrorReason_ERROR_REASON_INVALID_NAME, field, locktable.ValidateName(name))
}

func (p place) nameError(reason v1.ErrorReason, field string, err error) *v1.Error {
	if err == nil {
		return nil
	}
	var bad *locktable.NameError
	if !errors.As(err, &bad) {
		bad = &locktable.NameError{Problem: err.Error()}
	}
	return p.refuse(reason, field, bad.Problem, bad.Limit)
}

// prefix checks a name at and below which to look; empty means everything.
func (p place) prefix(field, prefix string) *v1.Error {
	if prefix == "" {
		return nil
	}
	return p.name(field, prefix)
}

// namespace gives the namespace that is meant.
func (p place) namespace(namespace string) (string, *v1.Error) {
	if namespace == "" {
		return locktable.DefaultNamespace, nil
	}
	err := locktable.ValidateNamespace(namespace)
	return namespace, p.nameError(v1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT, "namespace", err)
}

// text checks a field of free text.
func (p place) text(field, value string, bytesMax int) *v1.Error {
	if len(value) > bytesMax {
		return p.invalid(field, fmt.Sprintf("%d bytes", len(value)),
			fmt.Sprintf("at most %d bytes", bytesMax))
	}
	if !utf8.ValidString(value) {
		return p.invalid(field, "not valid UTF-8", "")
	}
	return nil
}

func (p place) mode(field string, mode v1.Mode) (locktable.Mode, *v1.Error) {
	switch mode {
	case v1.Mode_MODE_UNSPECIFIED, v1.Mode_MODE_EXCLUSIVE:
		return locktable.X, nil
	case v1.Mode_MODE_INTENTION_SHARED:
		return locktable.IS, nil
	case v1.Mode_MODE_INTENTION_EXCLUSIVE:
		return locktable.IX, nil
	case v1.Mode_MODE_SHARED:
		return locktable.S, nil
	case v1.Mode_MODE_SHARED_INTENTION_EXCLUSIVE:
		return locktable.SIX, nil
	}
	return locktable.None, p.refuse(v1.ErrorReason_ERROR_REASON_INVALID_MODE, field,
		fmt.Sprintf("%d is not a mode", mode), "")
}

func (p place) deadlockAction(action v1.DeadlockAction) (locktable.DeadlockAction, *v1.Error) {
	switch action {
	case v1.DeadlockAction_DEADLOCK_ACTION_UNSPECIFIED, v1.DeadlockAction_DEADLOCK_ACTION_ABORT_WAIT:
		return locktable.AbortWait, nil
	case v1.DeadlockAction_DEADLOCK_ACTION_RELEASE_OWNER:
		return locktable.ReleaseOwner, nil
	}
	return 0, p.invalid("on_deadlock", fmt.Sprintf("%d is not a deadlock action", action), "")
}

func (p place) priority(priority int32) *v1.Error {
	if priority < -priorityMax || priority > priorityMax {
		return p.invalid("priority", strconv.Itoa(int(priority)), priorityLimit)
	}
	return nil
}

// millis gives a duration in milliseconds, rounded up. A duration that is not given is absent.
func (p place) millis(field string, d *durationpb.Duration, absent time.Duration) (locktable.Millis, *v1.Error) {
	if d == nil {
		return absent.Milliseconds(), nil
	}
	allowed := spans[field]
	switch {
	case d.GetNanos() <= -1e9 || d.GetNanos() >= 1e9,
		d.GetSeconds() > 0 && d.GetNanos() < 0, d.GetSeconds() < 0 && d.GetNanos() > 0:
		return 0, p.refuse(allowed.reason, field,
			fmt.Sprintf("%d seconds and %d nanoseconds is not a duration", d.GetSeconds(), d.GetNanos()), "")
	case d.GetSeconds() < 0 || d.GetNanos() < 0:
		return 0, p.negative(field, allowed)
	case d.GetSeconds() > int64(allowed.most/time.Second), d.AsDuration() > allowed.most:
		return 0, p.above(field, seconds(d), allowed)
	case d.AsDuration() < allowed.least:
		return 0, p.refuse(allowed.reason, field, seconds(d)+" is below the least", "at least "+short(allowed.least))
	}
	const up = time.Millisecond - 1
	return (d.AsDuration() + up).Milliseconds(), nil
}

func (p place) negative(field string, allowed span) *v1.Error {
	return p.refuse(allowed.reason, field, "negative", "at least "+short(allowed.least))
}

func (p place) above(field, given string, allowed span) *v1.Error {
	return p.refuse(allowed.reason, field, given+" is above the most", "at most "+short(allowed.most))
}

// seconds writes a duration as JSON does. It may be longer than a time.Duration can be.
func seconds(d *durationpb.Duration) string {
	if d.GetNanos() == 0 {
		return strconv.FormatInt(d.GetSeconds(), 10) + "s"
	}
	return strings.TrimRight(fmt.Sprintf("%d.%09d", d.GetSeconds(), d.GetNanos()), "0") + "s"
}

// short writes a limit the way people say it: 30d, 24h, 1m, 100ms.
func short(d time.Duration) string {
	switch {
	case d > day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d >= time.Hour && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d >= time.Minute && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}

func (p place) session(id uint64) *v1.Error {
	if id == 0 {
		return p.invalid("session_id", "missing", "at least 1")
	}
	return nil
}

func (p place) grant(id int64) *v1.Error {
	switch {
	case id == 0:
		return p.invalid("grant_id", "missing", "at least 1")
	case id < 0:
		return p.invalid("grant_id", strconv.FormatInt(id, 10), "at least 1")
	}
	return nil
}

// unset checks fields that have no meaning here, each given by name and whether it is set.
func (p place) unset(why string, fields ...field) *v1.Error {
	for _, f := range fields {
		if f.set {
			return p.invalid(f.name, why, "")
		}
	}
	return nil
}

type field struct {
	name string
	set  bool
}

func (p place) pageSize(size uint32) (int, *v1.Error) {
	switch {
	case size == 0:
		return pageSizeDefault, nil
	case size > pageSizeMax:
		return 0, p.invalid("page_size", strconv.FormatUint(uint64(size), 10), pageSizeLimit)
	}
	return int(size), nil
}

func (p place) nodeID(id string, required bool) *v1.Error {
	if id == "" {
		if required {
			return p.invalid("node_id", "missing", "")
		}
		return nil
	}
	if err := p.text("node_id", id, nodeIDBytesMax); err != nil {
		return err
	}
	for at := range len(id) {
		c := id[at]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.' {
			continue
		}
		return p.invalid("node_id", fmt.Sprintf("character that is not allowed at byte %d", at),
			"letters, digits, - _ and .")
	}
	return nil
}

func (p place) peerAddress(address string) *v1.Error {
	const name, form = "peer_address", "host:port"
	if address == "" {
		return p.invalid(name, "missing", form)
	}
	if err := p.text(name, address, addressBytesMax); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, " \t\r\n/") {
		return p.invalid(name, "not an address", form)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return p.invalid(name, "not a port: "+strconv.Quote(port), "from 1 to 65535")
	}
	return nil
}

// first gives the first error there is.
func first(errs ...*v1.Error) *v1.Error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
