package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	holdfastv1 "github.com/holdfast-dev/holdfast/proto/gen/go/holdfast/v1"
)

// outputFormat is the value of --output.
type outputFormat int

const (
	outputText outputFormat = iota
	outputJSON
)

func (f *outputFormat) String() string {
	if *f == outputJSON {
		return "json"
	}
	return "text"
}

func (f *outputFormat) Set(s string) error {
	switch s {
	case "text":
		*f = outputText
	case "json":
		*f = outputJSON
	default:
		return fmt.Errorf("must be text or json")
	}
	return nil
}

func (f *outputFormat) Type() string { return "format" }

// marshalJSON writes a message on one line, the same each time (protojson alone varies its
// white space on purpose).
func marshalJSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// printJSON writes a message on a line of its own.
func printJSON(w io.Writer, m proto.Message) error {
	line, err := marshalJSON(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}

// table writes columns that line up. The first row is the heading.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, heading ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(heading...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// printable shows text of others without letting it steer the terminal or break a table.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\ufffd' }) {
		return s
	}
	return strconv.Quote(s)
}

// modeName is a mode as people write it: X, S, IS, IX, SIX.
func modeName(m holdfastv1.Mode) string {
	switch m {
	case holdfastv1.Mode_MODE_INTENTION_SHARED:
		return "IS"
	case holdfastv1.Mode_MODE_INTENTION_EXCLUSIVE:
		return "IX"
	case holdfastv1.Mode_MODE_SHARED:
		return "S"
	case holdfastv1.Mode_MODE_SHARED_INTENTION_EXCLUSIVE:
		return "SIX"
	case holdfastv1.Mode_MODE_EXCLUSIVE, holdfastv1.Mode_MODE_UNSPECIFIED:
		return "X"
	default:
		return m.String()
	}
}

// enumWords is the name of an enum value without its type, in lower case words.
func enumWords(name, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, prefix), "_", " "))
}

func outcomeWords(o holdfastv1.Outcome) string { return enumWords(o.String(), "OUTCOME_") }

func endWords(e holdfastv1.EndReason) string { return enumWords(e.String(), "END_REASON_") }

// ownerName names a line of work: s7, or s7:importer if it has an owner key.
func ownerName(session uint64, owner string) string {
	if session == 0 {
		return ""
	}
	if owner == "" {
		return fmt.Sprintf("s%d", session)
	}
	return fmt.Sprintf("s%d:%s", session, owner)
}

func tokenText(token int64) string {
	if token == 0 {
		return ""
	}
	return strconv.FormatInt(token, 10)
}

// durationText rounds a duration to what a person wants to read.
func durationText(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return roundDuration(d.AsDuration())
}

func roundDuration(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= 10*time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	}
	return d.String()
}

// claimsText lists claims: orders/42 X, orders/43 S.
func claimsText(claims []*holdfastv1.Claim) string {
	parts := make([]string, len(claims))
	for i, c := range claims {
		parts[i] = printable(c.GetName()) + " " + modeName(c.GetMode())
	}
	return strings.Join(parts, ", ")
}

// blockerText names one thing that stands in the way.
func blockerText(b *holdfastv1.Blocker) string {
	what := fmt.Sprintf("%s (%s)", printable(b.GetName()), modeName(b.GetMode()))
	switch b.GetKind() {
	case holdfastv1.BlockerKind_BLOCKER_KIND_GHOST:
		return fmt.Sprintf("%s: lock delay left by grant %d", what, b.GetGrantId())
	case holdfastv1.BlockerKind_BLOCKER_KIND_WAITER:
		return fmt.Sprintf("%s: %s waits ahead", what, ownerName(b.GetSessionId(), printable(b.GetOwner())))
	default:
		return fmt.Sprintf("%s: held by %s, grant %d", what,
			ownerName(b.GetSessionId(), printable(b.GetOwner())), b.GetGrantId())
	}
}

// cycleText spells a deadlock out: s1 waits for b (X), s2 waits for a (X), and so round.
func cycleText(c *holdfastv1.Cycle) string {
	parts := make([]string, 0, len(c.GetSteps()))
	for _, s := range c.GetSteps() {
		parts = append(parts, fmt.Sprintf("%s waits for %s (%s)",
			ownerName(s.GetSessionId(), printable(s.GetOwner())), printable(s.GetName()), modeName(s.GetMode())))
	}
	return strings.Join(parts, "; ")
}
