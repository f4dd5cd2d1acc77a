package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/urfave/cli/v3"

	"micromesh/internal/scaffold"
)

const newHelp = `NAME is a word, or several with hyphens; its slug is NAME-svc. In the root of the mesh's repository the service comes beside the
others; anywhere else into a folder NAME that is a module of its own, with the sources of the mesh that it is built with.

   micro new account
   micro new account --crud Widget name:string price:int32 --events
   micro new pages --http python

Fields are name:type, with a type of string, int32, int64, bool, double or timestamp.`

func (c *commands) new() *cli.Command {
	return &cli.Command{
		Name: "new", Usage: "write a new service, whole: contract, code, tests, and where it runs", ArgsUsage: "NAME [--crud TYPE FIELD:TYPE …]",
		Description: newHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "crud", Usage: "keep things of a `TYPE`: create, get, list, update and delete them"},
			&cli.BoolFlag{Name: "events", Usage: "tell what happens, on a topic of the service's own"},
			&cli.BoolFlag{Name: "no-db", Usage: "keep nothing"},
			&cli.StringFlag{Name: "http", Usage: "speak HTTP instead of RPC, in a `LANGUAGE`: go, python or node"},
			&cli.StringFlag{Name: "dir", Usage: "`DIR` where the service's folder comes", Value: "."},
			&cli.StringFlag{Name: "module", Usage: "`PATH` of the service's module, outside of the repository; its slug where it is left out"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			spec, err := newSpec(cmd)
			if err == nil {
				err = spec.Validate()
			}
			if err != nil {
				return usagef("%s", err)
			}
			w, err := scaffold.New(ctx, spec)
			if err != nil {
				return err
			}
			raw, err := json.Marshal(map[string]any{"slug": spec.Name.Slug, "dir": w.Dir, "files": w.Files})
			if err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error { return c.tellNew(w) })
		},
	}
}

// newSpec reads the command line, and tells everything that is wrong with it at once.
func newSpec(cmd *cli.Command) (scaffold.Spec, error) {
	spec := scaffold.Spec{Dir: cmd.String("dir"), Module: cmd.String("module"), NoDB: cmd.Bool("no-db"), Events: cmd.Bool("events"), HTTP: cmd.String("http")}
	var names, fields []string
	for _, a := range cmd.Args().Slice() {
		if strings.Contains(a, ":") {
			fields = append(fields, a)
		} else {
			names = append(names, a)
		}
	}
	if len(names) != 1 {
		return spec, errors.New("micro new " + cmd.ArgsUsage)
	}
	var errEntity error
	switch {
	case cmd.IsSet("crud"):
		spec.Entity, errEntity = scaffold.ParseEntity(cmd.String("crud"), fields)
	case len(fields) > 0:
		errEntity = errors.New("fields such as " + fields[0] + " are of what --crud names")
	}
	name, err := scaffold.ParseName(names[0])
	spec.Name = name
	return spec, errors.Join(err, errEntity)
}

// tellNew tells what was written and what to do next.
func (c *commands) tellNew(w scaffold.Written) error {
	if !w.Repository {
		if err := c.say("%s", w.Dir); err != nil {
			return err
		}
	}
	for _, f := range w.Files {
		if err := c.say("  %s", f); err != nil {
			return err
		}
	}
	return c.say("\nTry next, beside a mesh that runs (micro up):\n\n  micro run %s\n", w.Dir)
}
