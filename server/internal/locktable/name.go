package locktable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of names (HF-1.1, HF-1.2).
const (
	NameBytesMax      = 512
	NameSegmentsMax   = 32
	NamespaceBytesMax = 63
	DefaultNamespace  = "default"
)

// NameError says what is wrong with a name, and by which limit, if it is one.
type NameError struct {
	Problem string // what is wrong, lower case: "empty segment at byte 7"
	Limit   string // what is allowed, in words; empty if no limit was passed
}

func (e *NameError) Error() string {
	if e.Limit == "" {
		return e.Problem
	}
	return e.Problem + "; " + e.Limit + " allowed"
}

// ValidateName tells whether name is a lock name that callers may use (HF-1.1). The error is a
// *NameError.
func ValidateName(name string) error {
	switch {
	case name == "":
		return &NameError{Problem: "empty", Limit: "1 to 32 segments"}
	case len(name) > NameBytesMax:
		return &NameError{Problem: fmt.Sprintf("%d bytes", len(name)), Limit: "at most 512 bytes"}
	case !utf8.ValidString(name):
		return &NameError{Problem: "not valid UTF-8"}
	}
	if n := strings.Count(name, "/") + 1; n > NameSegmentsMax {
		return &NameError{Problem: fmt.Sprintf("%d segments", n), Limit: "at most 32 segments"}
	}
	for at, r := range name {
		if unicode.Is(unicode.Cc, r) {
			return &NameError{Problem: fmt.Sprintf("control character %U at byte %d", r, at)}
		}
		if r == utf8.RuneError {
			return &NameError{Problem: fmt.Sprintf("replacement character U+FFFD at byte %d", at)}
		}
	}
	at := 0
	for segment := range strings.SplitSeq(name, "/") {
		if problem := segmentProblem(segment); problem != "" {
			return &NameError{Problem: fmt.Sprintf("%s at byte %d", problem, at)}
		}
		at += len(segment) + 1
	}
	return nil
}

func segmentProblem(segment string) string {
	switch {
	case segment == "":
		return "empty segment"
	case segment == "." || segment == "..":
		return fmt.Sprintf("segment %q", segment)
	case segment[0] == ' ':
		return "segment that begins with a space"
	case segment[len(segment)-1] == ' ':
		return "segment that ends with a space"
	case segment[0] == '$':
		return "reserved segment (it begins with $)"
	}
	return ""
}

// ValidateNamespace tells whether namespace is one that callers may use (HF-1.2). The error is a
// *NameError.
func ValidateNamespace(namespace string) error {
	if namespace == "" {
		return &NameError{Problem: "empty"}
	}
	if len(namespace) > NamespaceBytesMax {
		return &NameError{Problem: fmt.Sprintf("%d bytes", len(namespace)), Limit: "at most 63 bytes"}
	}
	for at := range len(namespace) {
		c := namespace[at]
		switch {
		case c >= 'a' && c <= 'z':
		case at > 0 && (c >= '0' && c <= '9' || c == '-'):
		case at == 0:
			return &NameError{Problem: "must begin with a letter from a to z"}
		default:
			return &NameError{
				Problem: fmt.Sprintf("character that is not allowed at byte %d", at),
				Limit:   "a to z, 0 to 9 and -",
			}
		}
	}
	if strings.HasPrefix(namespace, "sys") {
		return &NameError{Problem: fmt.Sprintf("%q is reserved (it begins with sys)", namespace)}
	}
	return nil
}
