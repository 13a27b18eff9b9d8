// Command docscheck reads the repository as a reader of its pages would, and reports
//
//   - links between pages that lead nowhere,
//   - snippets of code that differ from the program they were taken from,
//   - make targets and clauses (HF-4.5) that are named somewhere and do not exist,
//   - a README that has grown too long to be read.
//
// It is run with the root of the repository and the files to look at, which may be any; only
// pages (.md) are searched for links and snippets.
//
// A snippet is a block that follows a comment "<!-- from examples/go/quickstart/main.go -->"; its
// lines must stand in that file, one after the other, indentation aside.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
)

const readmeLines = 150

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`^#{1,6} +(.+?) *$`)
	notWord  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	from     = regexp.MustCompile(`^<!-- from (\S+) -->$`)
	makeCall = regexp.MustCompile("(?:^|`)make ([a-z][a-z0-9-]*)")
	target   = regexp.MustCompile(`^([a-z][a-z0-9-]*):`)
	mention  = regexp.MustCompile(`\bHF-(\d+(?:\.\d+[a-z]?)?)\b`)
	clause   = regexp.MustCompile(`^(?:- |## )\*{0,2}(\d+(?:\.\d+[a-z]?)?)\*{0,2}[ .]`)
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: docscheck ROOT FILE...")
		os.Exit(2)
	}
	faults, err := check(os.DirFS(os.Args[1]), os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "docscheck:", err)
		os.Exit(2)
	}
	for _, f := range faults {
		fmt.Println(f)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}

type checker struct {
	root    fs.FS
	targets map[string]bool // of make
	clauses map[string]bool
	faults  []string
}

func check(root fs.FS, files []string) ([]string, error) {
	c := &checker{root: root}
	var err error
	if c.targets, err = matches(root, "Makefile", target); err != nil {
		return nil, err
	}
	if c.clauses, err = matches(root, "docs/SEMANTICS.md", clause); err != nil {
		return nil, err
	}
	for _, name := range files {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		c.clausesExist(name, lines)
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		c.targetsExist(name, lines)
		c.linksLead(name, lines)
		if err := c.snippetsMatch(name, lines); err != nil {
			return nil, err
		}
		if name == "README.md" && len(lines) > readmeLines {
			c.fault(name, readmeLines, "the page has %d lines, at most %d are read", len(lines), readmeLines)
		}
	}
	return c.faults, nil
}

func (c *checker) fault(name string, line int, format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf("%s:%d: %s", name, line+1, fmt.Sprintf(format, args...)))
}

// matches returns what the first group of the pattern matches in the lines of a file.
func matches(root fs.FS, name string, pattern *regexp.Regexp) (map[string]bool, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if m := pattern.FindStringSubmatch(line); m != nil {
			found[m[1]] = true
		}
	}
	return found, nil
}

func (c *checker) clausesExist(name string, lines []string) {
	for i, line := range lines {
		for _, m := range mention.FindAllStringSubmatch(line, -1) {
			if !c.clauses[m[1]] {
				c.fault(name, i, "there is no clause HF-%s", m[1])
			}
		}
	}
}

func (c *checker) targetsExist(name string, lines []string) {
	inBlock := false
	for i, line := range lines {
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
		}
		for _, m := range makeCall.FindAllStringSubmatch(line, -1) {
			if (inBlock || strings.Contains(line, "`make ")) && !c.targets[m[1]] {
				c.fault(name, i, "there is no target %q in the Makefile", m[1])
			}
		}
	}
}

func (c *checker) linksLead(name string, lines []string) {
	inBlock := false
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inBlock = !inBlock
		}
		if inBlock {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			page := name
			if file != "" {
				page = path.Join(path.Dir(name), file)
			}
			if _, err := fs.Stat(c.root, page); err != nil {
				c.fault(name, i, "the link leads nowhere: %s", m[1])
			} else if anchor != "" && !c.hasAnchor(page, anchor) {
				c.fault(name, i, "there is no such heading: %s", m[1])
			}
		}
	}
}

func (c *checker) hasAnchor(page, anchor string) bool {
	text, err := fs.ReadFile(c.root, page)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if m := heading.FindStringSubmatch(strings.TrimSpace(line)); m != nil && slug(m[1]) == anchor {
			return true
		}
	}
	return false
}

// slug is the anchor that a heading gets when the page is shown.
func slug(heading string) string {
	return strings.ReplaceAll(notWord.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

func (c *checker) snippetsMatch(name string, lines []string) error {
	for i, line := range lines {
		m := from.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		source, err := fs.ReadFile(c.root, m[1])
		if err != nil {
			c.fault(name, i, "the snippet's source is gone: %s", m[1])
			continue
		}
		var block []string
		for _, l := range lines[min(i+2, len(lines)):] {
			if strings.HasPrefix(l, "```") {
				break
			}
			block = append(block, l)
		}
		if len(block) == 0 || !strings.Contains(flat(strings.Split(string(source), "\n")), flat(block)) {
			c.fault(name, i, "the snippet is not in %s any more", m[1])
		}
	}
	return nil
}

// flat removes indentation and empty lines.
func flat(lines []string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" {
			b.WriteString(l)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
