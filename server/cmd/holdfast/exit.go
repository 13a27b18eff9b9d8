package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// Exit codes. Where sysexits.h has a meaning that fits, its number is used. `lock` passes on the
// exit code of its command, so these may also be that command's own.
const (
	exitOK          = 0
	exitFailed      = 1   // the server refused, or something else went wrong
	exitUsage       = 64  // the command line, or a value in it, is wrong
	exitUnavailable = 69  // no endpoint could be reached, or the cluster cannot commit
	exitNotGot      = 75  // the lock was not got in time
	exitLost        = 76  // `lock`: the lock was lost and the command was stopped
	exitDenied      = 77  // the caller may not do this
	exitNotRunnable = 126 // `lock`: the command is not executable
	exitNotFound    = 127 // `lock`: the command was not found
	exitSignal      = 128 // plus the number of the signal that ended it
)

const exitCodesHelp = `Exit codes of holdfast:

    0  done
    1  the server refused, or something else went wrong
   64  the command line, or a value in it, is wrong
   69  no endpoint could be reached, or the cluster cannot commit just now
   75  the lock was not got in time (held by others, or the wait limit passed)
   76  lock: the lock was lost while the command ran, and the command was stopped
   77  the caller may not do this
  126  lock: the command could not be executed
  127  lock: the command was not found
  128+N  ended by signal N, for example 130 after Ctrl-C

'holdfast lock' returns the exit code of its command, so a command that itself
returns 75 cannot be told from a lock that was not got, except by what stands on
stderr.
`

const unreachableHint = "is a server running there? start one with: holdfast dev"

// exitError is an error that has been thought about: it says what to tell the user and how to
// leave the process. Everything a command returns that is not one becomes one in asExitError.
type exitError struct {
	code    int
	message string
	hint    string // what to try; may be empty
	reason  string // name in the error catalogue; may be empty
	silent  bool   // say nothing: all has been said, or it is another program's exit code
	detail  *holdfastv1.Error
}

func (e *exitError) Error() string { return e.message }

// usageError says that the command line is wrong.
func usageError(hint, format string, args ...any) error {
	return &exitError{code: exitUsage, message: fmt.Sprintf(format, args...), hint: hint}
}

// failure is an error of this program's own finding.
func failure(code int, hint, format string, args ...any) error {
	return &exitError{code: code, message: fmt.Sprintf(format, args...), hint: hint}
}

// exitWith ends the process with a code and without another word.
func exitWith(code int) error { return &exitError{code: code, silent: true} }

// asExitError finds out what an error means to the user.
func asExitError(err error) *exitError {
	var known *exitError
	if errors.As(err, &known) {
		return known
	}
	if detail := errorDetail(err); detail != nil {
		return fromCatalogue(detail)
	}
	if e := fromSDK(err); e != nil {
		return e
	}
	if errors.Is(err, context.Canceled) {
		return &exitError{code: exitSignal + 2, message: "interrupted"}
	}
	var ce *connect.Error
	if errors.As(err, &ce) {
		return fromConnect(ce)
	}
	e := &exitError{code: exitFailed, message: err.Error()}
	var hinter interface{ Hint() string } // as the errors of a node that does not start
	if errors.As(err, &hinter) {
		e.hint = hinter.Hint()
	}
	return e
}

// fromCatalogue shows an error that the server named.
func fromCatalogue(detail *holdfastv1.Error) *exitError {
	name := strings.TrimPrefix(detail.GetReason().String(), "ERROR_REASON_")
	e := &exitError{
		code: exitFailed, message: fmt.Sprintf("%s (%s)", detail.GetMessage(), name),
		hint: detail.GetHint(), reason: name, detail: detail,
	}
	switch detail.GetReason() {
	case holdfastv1.ErrorReason_ERROR_REASON_INVALID_NAME,
		holdfastv1.ErrorReason_ERROR_REASON_INVALID_MODE,
		holdfastv1.ErrorReason_ERROR_REASON_INVALID_TTL,
		holdfastv1.ErrorReason_ERROR_REASON_INVALID_ARGUMENT:
		e.code = exitUsage
	case holdfastv1.ErrorReason_ERROR_REASON_NOT_LEADER,
		holdfastv1.ErrorReason_ERROR_REASON_NO_QUORUM,
		holdfastv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		holdfastv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		holdfastv1.ErrorReason_ERROR_REASON_RATE_LIMITED:
		e.code = exitUnavailable
	case holdfastv1.ErrorReason_ERROR_REASON_PERMISSION_DENIED,
		holdfastv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED:
		e.code = exitDenied
	default: // refused: exitFailed
	}
	return e
}

// fromConnect shows an error without a reason from the catalogue: transport, proxies, an address
// at which something else answers.
func fromConnect(ce *connect.Error) *exitError {
	e := &exitError{code: exitFailed, message: ce.Message(), reason: ce.Code().String()}
	switch ce.Code() {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		e.code = exitUnavailable
		e.hint = unreachableHint
	case connect.CodeUnimplemented:
		e.hint = "the endpoint answers but does not know this call; " +
			"is it Holdfast's client port (7480), and of this version?"
	default:
	}
	return e
}

// errorDetail is the catalogue's error that a failed call carries, or nil.
func errorDetail(err error) *holdfastv1.Error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return nil
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if detail, ok := v.(*holdfastv1.Error); ok {
				return detail
			}
		}
	}
	return nil
}

// report tells the user what went wrong and returns the exit code.
func report(w io.Writer, format outputFormat, err error) int {
	e := asExitError(err)
	if e.silent {
		return e.code
	}
	if format == outputJSON {
		writeErrorJSON(w, e)
		return e.code
	}
	fmt.Fprintf(w, "error: %s\n", printable(e.message))
	if e.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", printable(e.hint))
	}
	return e.code
}

func writeErrorJSON(w io.Writer, e *exitError) {
	known := holdfastv1.ErrorReason_value["ERROR_REASON_"+e.reason] // else 0, which is left out
	detail := &holdfastv1.Error{Reason: holdfastv1.ErrorReason(known), Message: e.message, Hint: e.hint}
	if e.detail != nil {
		detail = proto.CloneOf(e.detail)
	}
	body, err := marshalJSON(detail)
	if err != nil {
		fmt.Fprintf(w, "error: %s\n", printable(e.message))
		return
	}
	fmt.Fprintf(w, "{\"error\":%s}\n", body)
}
