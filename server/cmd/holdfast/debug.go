package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/server/internal/locktable"
	"github.com/holdfast-dev/holdfast/server/internal/raftnode"
)

func newDebugCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "debug", Short: "Look into the files of a node"}
	helpOnly(cmd)
	var from uint64
	dump := &cobra.Command{
		Use:   "dump-log DIR",
		Short: "Print the log of a stopped node",
		Long: `Print the log in the data directory of a node that does not run: each entry with its
index, term and cluster time, and the commands in it. Nothing is changed. Entries
older than the node's last snapshots are no longer there. Damaged entries are shown
as such, and the exit code is then 1.`,
		Example: `  holdfast debug dump-log holdfast-data/n1
  holdfast debug dump-log holdfast-data/n1 --output json | jq -c 'select(.index > 100)'`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.dumpLog(args[0], from) },
	}
	dump.Flags().Uint64Var(&from, "from", 0, "first index to print")
	cmd.AddCommand(dump)
	return cmd
}

func (a *app) dumpLog(dir string, from uint64) error {
	damaged := 0
	err := raftnode.ReadLog(dir, func(r raftnode.LogRecord) error {
		if r.Err != nil {
			damaged++
		}
		if r.Index < from {
			return nil
		}
		if a.format == outputJSON {
			return a.recordJSON(r)
		}
		return a.recordText(r)
	})
	if err != nil {
		return err
	}
	if damaged > 0 {
		return failure(exitFailed, "", "%d entries are damaged", damaged)
	}
	return nil
}

func (a *app) recordText(r raftnode.LogRecord) error {
	line := fmt.Sprintf("%d  term %d  %s", r.Index, r.Term, r.Kind)
	if e := r.Entry; e != nil {
		line += fmt.Sprintf("  T=%d  version %d  %d bytes", e.Stamp, e.Version, r.Size)
	}
	if r.Err != nil {
		line += fmt.Sprintf("  DAMAGED: %v", r.Err)
	}
	lines := []string{printable(line)}
	for _, m := range r.Members {
		lines = append(lines, "    "+printable(m))
	}
	if r.Entry != nil {
		for i, c := range r.Entry.Commands {
			lines = append(lines, fmt.Sprintf("    %d.%d %s", r.Index, i, commandText(c)))
		}
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(lines, "\n"))
	return err
}

// recordJSON writes a record on one line. Commands are the core's own, with their type.
func (a *app) recordJSON(r raftnode.LogRecord) error {
	type command struct {
		Type    string            `json:"type"`
		Command locktable.Command `json:"command"`
	}
	out := struct {
		Index    uint64           `json:"index"`
		Term     uint64           `json:"term"`
		Kind     string           `json:"kind"`
		Bytes    int              `json:"bytes"`
		Stamp    locktable.Millis `json:"stamp_ms,omitempty"`
		Version  uint32           `json:"semantics_version,omitempty"`
		Members  []string         `json:"members,omitempty"`
		Commands []command        `json:"commands,omitempty"`
		Error    string           `json:"error,omitempty"`
	}{Index: r.Index, Term: r.Term, Kind: r.Kind, Bytes: r.Size, Members: r.Members}
	if r.Entry != nil {
		out.Stamp, out.Version = r.Entry.Stamp, r.Entry.Version
		for _, c := range r.Entry.Commands {
			out.Commands = append(out.Commands, command{reflect.TypeOf(c).Elem().Name(), c})
		}
	}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	line, err := json.Marshal(out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", line)
	return err
}

// commandText shows the fields of a command that are not zero: Release Session=1 Grant=17.
func commandText(c locktable.Command) string {
	v := reflect.ValueOf(c).Elem()
	return v.Type().Name() + fieldsText(v)
}

func fieldsText(v reflect.Value) string {
	var b strings.Builder
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case field.IsZero():
		case v.Type().Field(i).Anonymous, field.Kind() == reflect.Struct:
			b.WriteString(fieldsText(field))
		case field.Kind() == reflect.String:
			fmt.Fprintf(&b, " %s=%q", name, field.String())
		default:
			fmt.Fprintf(&b, " %s=%v", name, field.Interface())
		}
	}
	return b.String()
}
