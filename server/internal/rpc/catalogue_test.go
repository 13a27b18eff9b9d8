package rpc

import (
	"os"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// The table of errors says what the comments of the contract say: every reason is in it, with the
// code that its comment names, and a message like the example there.
func TestCatalogueIsTheContracts(t *testing.T) {
	source, err := os.ReadFile("../../../proto/holdfast/v1/errors.proto")
	if err != nil {
		t.Fatal(err)
	}
	enum, _, _ := strings.Cut(string(source), "\n}\n")
	text := regexp.MustCompile(`\s*\n\s*// `).ReplaceAllString(enum, " ")
	value := regexp.MustCompile(`(?m) Code: ([a-z_]+)\. .*Example: (.*)\.\n  (ERROR_REASON_[A-Z_]+) = `)
	found := 0
	for _, match := range value.FindAllStringSubmatch(text, -1) {
		code, example, name := match[1], match[2], match[3]
		e, ok := catalogue[v1.ErrorReason(v1.ErrorReason_value[name])]
		if !ok {
			t.Errorf("%s is not in the table", name)
			continue
		}
		found++
		if e.code.String() != code {
			t.Errorf("%s: the code is %s in the table, %s in the contract", name, e.code, code)
		}
		if !exampleOf(e.form).MatchString(example) {
			t.Errorf("%s: %q in the table, for example %q in the contract", name, e.form, example)
		}
	}
	if want := len(v1.ErrorReason_name) - 1; found != want || len(catalogue) != want {
		t.Errorf("%d reasons in the contract, %d with comments, %d in the table", want, found, len(catalogue))
	}
}

// exampleOf gives a pattern of the messages that a form can make.
func exampleOf(form string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(form)
	pattern = strings.NewReplacer("%d", `\d+`, "%s", ".+").Replace(pattern)
	return regexp.MustCompile("^" + pattern + "$")
}
