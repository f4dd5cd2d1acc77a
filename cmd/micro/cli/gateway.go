package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v3"

	"micromesh/gateway/routes"
)

func (c *commands) gateway() *cli.Command {
	return group("gateway", "check the routes of a gateway", c.gatewayCheck(), c.gatewaySchema())
}

func (c *commands) gatewayCheck() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "list the mistakes of a routes.yaml, the names that it closes, and what stays open beside a guard", ArgsUsage: "FILE",
		Description: "Without mistakes it exits 0, whatever the notes and warnings.\nVariables that upstreams name are taken from the environment, as the gateway takes them from its own.\nA gateway reads the file that MICRO_ROUTES names.",
		Action: func(_ context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 1, 1)
			if err != nil {
				return err
			}
			content, err := os.ReadFile(a[0])
			if err != nil {
				return usagef("%s", err)
			}
			table, err := routes.Parse(a[0], content, func(name string) (string, bool) { v := c.Getenv(name); return v, v != "" })
			if err != nil {
				return fmt.Errorf("%w:\n%w", errMistakes, err)
			}
			return c.checked(cmd, a[0], table)
		},
	}
}

// checkNote is a note on a route in JSON.
type checkNote struct {
	Line    int    `json:"line"`
	Text    string `json:"text"`
	Warning bool   `json:"warning"`
}

// checked prints the notes on a file without mistakes.
func (c *commands) checked(cmd *cli.Command, file string, table *routes.Table) error {
	notes := table.Notes()
	if cmd.Bool("json") {
		out := struct {
			File   string      `json:"file"`
			Routes int         `json:"routes"`
			Notes  []checkNote `json:"notes"`
		}{file, len(table.Routes()), make([]checkNote, len(notes))}
		for i, n := range notes {
			out.Notes[i] = checkNote(n)
		}
		b, err := json.Marshal(out)
		if err != nil {
			return fmt.Errorf("encode notes: %w", err)
		}
		return c.printJSON(b)
	}
	for _, n := range notes {
		kind := "note"
		if n.Warning {
			kind = "warning"
		}
		if _, err := fmt.Fprintf(c.Stdout, "%s:%d: %s: %s\n", file, n.Line, kind, n.Text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(c.Stdout, "%s is right: %d routes\n", file, len(table.Routes()))
	return err
}

func (c *commands) gatewaySchema() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schema of routes.yaml, for editors",
		Action: func(_ context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			_, err := c.Stdout.Write(routes.Schema)
			return err
		},
	}
}
