// Package docs_test reads the pages for newcomers as one of them would, and does what they say: every command of them is run, and
// what a page says that it prints must be printed.
package docs_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of a page.
//
//   - console: commands after "$ ", each with what it prints; "…" stands for anything, and alone on a line for any lines. They
//     must exit with 0. Where no output is shown, any is fine.
//   - console fails: such commands, of which each must exit with something else.
//   - console soon: such commands, which are repeated until they print what is shown: something takes effect a moment later.
//   - console service: one command that goes on running while the pages are read; it has printed what is shown.
//   - console more: what the service that was begun last prints after that.
//   - console docker: commands for `make test-compose`, which has Docker, in the repository's root; console docker soon likewise.
//   - diff: a change of files, as `patch` takes it.
//   - a language and a path: a file that the reader writes.
//   - a language alone: something to look at.
type block struct {
	page, kind string
	path       string // of what has one
	line       int
	text       string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

var (
	links    = regexp.MustCompile(`(?m)^\d+\. \[[^\]]*\]\(([a-z-]+\.md)\)`)
	kinds    = regexp.MustCompile(`^(console( fails| soon| service| more| docker( soon)?)?|diff|(go|python|yaml|proto)( [a-zA-Z0-9_./-]+)?)$`)
	indented = regexp.MustCompile(`(?m)^ {4}\S`)
)

// pages gives the pages in the order in which README.md tells one to read them.
func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, m := range links.FindAllStringSubmatch(read(t, "README.md"), -1) {
		all = append(all, m[1])
	}
	if len(all) < 5 {
		t.Fatalf("README.md names only the pages %v", all)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocks gives the blocks of a page. It fails for what looks like a command and would not be run.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	var all []block
	var open *block
	var prose strings.Builder
	for i, line := range strings.Split(read(t, page), "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			if !kinds.MatchString(info) {
				t.Fatalf("%s:%d: a block is of no kind that is known: %q", page, i+1, info)
			}
			open = &block{page: page, kind: info, line: i + 1}
			if kind, path, _ := strings.Cut(info, " "); path != "" && kind != "console" {
				open.kind, open.path = "file", path
			}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		default:
			prose.WriteString(line + "\n")
		}
	}
	if open != nil {
		t.Fatalf("%s: a block has no end", open)
	}
	if m := indented.FindString(prose.String()); m != "" {
		t.Errorf("%s has an indented block, which is not run: make it a fenced one", page)
	}
	return all
}

// command is a command of a page, and what it prints.
type command struct {
	line   string
	prints string
}

// commands gives those of a block.
func (b block) commands(t *testing.T) []command {
	t.Helper()
	var all []command
	for line := range strings.Lines(b.text) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, command{line: c})
			continue
		}
		if len(all) == 0 {
			t.Fatalf("%s begins with no command", b)
		}
		last := &all[len(all)-1]
		if last.prints == "" && strings.HasSuffix(strings.TrimRight(last.line, "\n"), `\`) {
			last.line += line
			continue
		}
		last.prints += line
	}
	return all
}

// printed tells whether a text is what a command prints, as a page shows it: from its begin, or to the end of the text too.
func (c command) printed(text string, whole bool) bool {
	var want strings.Builder
	want.WriteString(`^\s*`)
	ellipsis := true // before the line: its begin is known by itself
	for _, line := range strings.Split(strings.TrimSpace(c.prints), "\n") {
		words := strings.Fields(line)
		if len(words) == 1 && words[0] == "…" {
			want.WriteString(`(?s:.*)`) // no lines, too
			ellipsis = true
			continue
		}
		if ellipsis {
			want.WriteString(`(?m:^)\s*`)
		} else {
			want.WriteString(`\s*\n\s*`)
		}
		ellipsis = false
		for j, word := range words {
			if j > 0 {
				want.WriteString(`[ \t]+`)
			}
			want.WriteString(strings.ReplaceAll(regexp.QuoteMeta(word), "…", `[^\n]*`))
		}
	}
	want.WriteString(`\s*`)
	if whole {
		want.WriteString(`$`)
	}
	return regexp.MustCompile(want.String()).MatchString(text)
}
