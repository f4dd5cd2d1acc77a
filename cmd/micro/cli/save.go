package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// saved is a kind of objects that are saved from files, all in one call of the API.
type saved struct {
	noun     string   // "permit"
	plural   string   // the API's field: "permits"
	path     string   // of the API
	required []string // fields
	example  string   // YAML
}

// saveCommand makes `micro <noun> save FILE|FOLDER|-`, and lets flags make one object instead of a file.
func (c *commands) saveCommand(s saved, flags []cli.Flag, fromFlags func(*cli.Command) map[string]any) *cli.Command {
	return &cli.Command{
		Name: "save", Usage: "save " + s.plural + " from a file, from all files of a folder, from standard input (-), or one from flags",
		ArgsUsage:   "[FILE|FOLDER|-]",
		Description: "A file is YAML or JSON, and holds one object, a list, or several documents:\n\n" + s.example,
		Flags:       flags,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 0, 1)
			if err != nil {
				return err
			}
			var docs []document
			if len(a) == 1 {
				if docs, err = c.readDocuments(a[0]); err != nil {
					return err
				}
			} else {
				docs = []document{{"the flags", fromFlags(cmd)}}
			}
			if err := require(docs, s.required...); err != nil {
				if len(a) == 0 {
					return usagef("name a file or a folder, or give --%s", strings.Join(s.required, " and --"))
				}
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := api.do(ctx, http.MethodPut, s.path, map[string]any{s.plural: fieldsOf(docs)}, &raw); err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error { return c.say("saved %d %s", len(docs), s.plural) })
		},
	}
}

// removeCommand makes `micro <noun> rm ID…`, which deletes all that are named in one call of the API, or none.
func (c *commands) removeCommand(usage, path string, arguments ...string) *cli.Command {
	return c.simple("rm", usage, cmp.Or(strings.Join(arguments, " "), "ID…"), 1, -1, nil,
		func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
			err = api.do(ctx, http.MethodDelete, path, map[string]any{"ids": a}, &raw)
			return raw, "deleted " + strings.Join(a, " "), err
		})
}

// given adds a value to an object where it says something.
func given(m map[string]any, name string, v any) {
	switch x := v.(type) {
	case string:
		if x == "" {
			return
		}
	case []string:
		if len(x) == 0 {
			return
		}
	}
	m[name] = v
}

// list makes a listing command: a call, and a row for each object of the answer's list.
type list struct {
	usage  string
	method string
	path   func(*cli.Command) (string, error)
	body   func(*cli.Command) any
	flags  []cli.Flag
	args   string
	header []string
	wide   []string // further columns of -o wide; rows have their cells in any case
	rows   func(raw json.RawMessage, t *table) error
}

// outputFlag chooses the columns of a list.
func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`wide` has more columns", Validator: func(s string) error {
		if s != "wide" {
			return usagef("--output %q: it must be wide, or left out", s)
		}
		return nil
	}}
}

func (c *commands) listCommand(l list) *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: l.usage, Flags: l.flags, ArgsUsage: l.args,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			most := 0
			if l.args != "" {
				most = -1
			}
			if _, err := args(cmd, 0, most); err != nil {
				return err
			}
			path, err := l.path(cmd)
			if err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			var in any
			if l.body != nil {
				in = l.body(cmd)
			}
			var raw json.RawMessage
			if err := api.do(ctx, l.method, path, in, &raw); err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error {
				t := &table{header: l.header}
				if err := l.rows(raw, t); err != nil {
					return err
				}
				t.columns(l, cmd.String("output") == "wide")
				return c.printTable(t)
			})
		},
	}
}

// columns adds the further columns of a list, or cuts their cells off.
func (t *table) columns(l list, wide bool) {
	if wide {
		t.header = slices.Concat(l.header, l.wide)
		return
	}
	for i, r := range t.rows {
		t.rows[i] = r[:min(len(r), len(l.header))]
	}
}

// fixed is a path without parameters.
func fixed(path string) func(*cli.Command) (string, error) {
	return func(*cli.Command) (string, error) { return path, nil }
}

// simple is a command that makes one call and says what it has done.
func (c *commands) simple(name, usage, argsUsage string, least, most int, flags []cli.Flag, do func(ctx context.Context, cmd *cli.Command, api *api, a []string) (json.RawMessage, string, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: argsUsage, Flags: flags,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, least, most)
			if err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			raw, done, err := do(ctx, cmd, api, a)
			if err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error { return c.say("%s", done) })
		},
	}
}
