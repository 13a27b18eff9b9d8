package main

import (
	"strings"
	"testing"
)

const two = `{"file":[{"name":"holdfast/v1/errors.proto",
"enumType":[{"name":"ErrorReason","value":[{"name":"ERROR_REASON_UNSPECIFIED"},{"name":"ERROR_REASON_FROZEN","number":5}]}],
"sourceCodeInfo":{"location":[{"path":[5,0,2,0],"leadingComments":" Never sent.\n"},{"path":[5,0,2,1],"leadingComments":"COMMENT"}]}}]}`

func TestCommentInItsFormBecomesASection(t *testing.T) {
	in := strings.Replace(two, "COMMENT", ` Frozen. Code:\n failed_precondition. Retry: later. Example: a/b is frozen.\n`, 1)
	var out strings.Builder
	if err := run(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| [`FROZEN`](#frozen) | `failed_precondition` | 400 | no |",
		"## FROZEN\n\nFrozen.\n\n- Code: `failed_precondition` (HTTP 400)\n- Retry: later\n- Example: `a/b is frozen`\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestCommentInAnotherFormIsRefused(t *testing.T) {
	for _, comment := range []string{"Frozen.", "Frozen. Code: frozen. Retry: no. Example: x."} {
		err := run(strings.NewReader(strings.Replace(two, "COMMENT", comment, 1)), &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), "FROZEN") {
			t.Errorf("%q: %v", comment, err)
		}
	}
}
