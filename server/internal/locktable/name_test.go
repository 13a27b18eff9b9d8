package locktable

import (
	"strings"
	"testing"
)

// HF-1.1: which names are allowed, and what is said of those that are not.
func TestValidateName(t *testing.T) {
	for name, want := range map[string]string{
		"a":                                   "",
		"orders/42":                           "",
		"Käse/日本/emoji 🙂":                     "",
		"a b/c  d":                            "",
		"a/.b/..c/...":                        "",
		"cost$":                               "",
		strings.Repeat("x", 512):              "",
		strings.Repeat("x/", 31) + "x":        "",
		"":                                    "empty; 1 to 32 segments allowed",
		strings.Repeat("x", 513):              "513 bytes; at most 512 bytes allowed",
		strings.Repeat("x/", 32) + "x":        "33 segments; at most 32 segments allowed",
		"/a":                                  "empty segment at byte 0",
		"a/":                                  "empty segment at byte 2",
		"orders//42":                          "empty segment at byte 7",
		"a/./b":                               `segment "." at byte 2`,
		"..":                                  `segment ".." at byte 0`,
		" a":                                  "segment that begins with a space at byte 0",
		"a/b ":                                "segment that ends with a space at byte 2",
		"a/ ":                                 "segment that begins with a space at byte 2",
		"a/$b":                                "reserved segment (it begins with $) at byte 2",
		"a\x00b":                              "control character U+0000 at byte 1",
		"a\nb":                                "control character U+000A at byte 1",
		"é\u0085":                             "control character U+0085 at byte 2",
		"a\x7f":                               "control character U+007F at byte 1",
		"a\ufffd":                             "replacement character U+FFFD at byte 1",
		"a\xff":                               "not valid UTF-8",
		"a\xed\xa0\x80":                       "not valid UTF-8",
		strings.Repeat("é", 256):              "",
		strings.Repeat("é", 256) + "x":        "513 bytes; at most 512 bytes allowed",
		strings.Repeat("x", 510) + "/" + "yy": "513 bytes; at most 512 bytes allowed",
		strings.Repeat("/", 31) + "x":         "empty segment at byte 0",
		"line\u2028separator/zero\u200bwidth\u00a0": "",
	} {
		checkName(t, "ValidateName", ValidateName(name), name, want)
	}
}

// HF-1.2: which namespaces are allowed.
func TestValidateNamespace(t *testing.T) {
	for name, want := range map[string]string{
		"default":               "",
		"a":                     "",
		"a-1-b":                 "",
		strings.Repeat("a", 63): "",
		"sy":                    "",
		"":                      "empty",
		strings.Repeat("a", 64): "64 bytes; at most 63 bytes allowed",
		"1a":                    "must begin with a letter from a to z",
		"-a":                    "must begin with a letter from a to z",
		"A":                     "must begin with a letter from a to z",
		"aB":                    "character that is not allowed at byte 1; a to z, 0 to 9 and - allowed",
		"a/b":                   "character that is not allowed at byte 1; a to z, 0 to 9 and - allowed",
		"aé":                    "character that is not allowed at byte 1; a to z, 0 to 9 and - allowed",
		"sys":                   `"sys" is reserved (it begins with sys)`,
		"system":                `"system" is reserved (it begins with sys)`,
	} {
		checkName(t, "ValidateNamespace", ValidateNamespace(name), name, want)
	}
}

func checkName(t *testing.T, what string, err error, name, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s(%q): got %q, want %q", what, name, got, want)
	}
}
