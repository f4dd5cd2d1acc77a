package cli

import (
	"context"
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
		Name: "check", Usage: "tell all that is wrong with a routes.yaml, or nothing and exit 0", ArgsUsage: "FILE",
		Description: "Variables that upstreams name are taken from the environment, as the gateway takes them from its own.\nA gateway reads the file that MICRO_ROUTES names.",
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
			if cmd.Bool("json") {
				return c.printJSON(fmt.Appendf(nil, `{"file":%q,"routes":%d}`, a[0], len(table.Routes())))
			}
			_, err = fmt.Fprintf(c.Stdout, "%s is right: %d routes\n", a[0], len(table.Routes()))
			return err
		},
	}
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
