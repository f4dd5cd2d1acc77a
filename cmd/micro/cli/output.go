package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/urfave/cli/v3"
)

// printJSON prints an answer as it came, indented.
func (c *commands) printJSON(raw json.RawMessage) error {
	var buf bytes.Buffer
	if err := json.Indent(&buf, raw, "", "  "); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	_, err := fmt.Fprintln(c.Stdout, buf.String())
	return err
}

// table is what a listing prints.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (c *commands) printTable(t *table) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.header, "\t"))
	for _, r := range t.rows {
		for i := range r {
			r[i] = printable(r[i])
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	return w.Flush()
}

// printable takes what would break a table or a terminal out of a cell that somebody else wrote.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) { // of the latter are marks of direction
			return '?'
		}
		return r
	}, s)
}

// answer prints the API's answer with --json, else what say prints.
func (c *commands) answer(cmd *cli.Command, raw json.RawMessage, say func() error) error {
	if cmd.Bool("json") {
		if len(raw) == 0 {
			raw = json.RawMessage("{}")
		}
		return c.printJSON(raw)
	}
	return say()
}

func (c *commands) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.Stdout, format+"\n", args...)
	return err
}
