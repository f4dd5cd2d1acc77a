package cli

import (
	"context"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"micromesh/internal/devrun"
	"micromesh/pkg/config"
)

const runHelp = `DIR is the service's folder; the working one where it is left out. It finds the mesh by what lies in the data folder of one that runs
(micro up): gateway.url, and nats.url for a service with RPC, which joins over NATS. What the service
keeps lies in DIR/.micro. Variables of the environment are its settings as always.

A change of its sources is built, and restarts it; one of a .proto is generated before. Where that fails, what runs goes on.`

func (c *commands) run() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a service beside a mesh, and start it anew when its sources change", ArgsUsage: "[DIR]",
		Description: runHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` of the mesh's data; data in the working folder, or beside the service's, where it is left out", Sources: cli.EnvVars("MICRO_DATA")},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 0, 1)
			if err != nil {
				return err
			}
			dir := "."
			if len(a) == 1 {
				dir = a[0]
			}
			environ, err := c.runEnviron(cmd, dir)
			if err != nil {
				return err
			}
			return devrun.Run(ctx, devrun.Config{
				Dir: dir, Environ: environ, Stdout: c.Stdout, Stderr: c.Stderr,
				Tell: func(format string, args ...any) { _ = c.say(format, args...) },
			})
		},
	}
}

// runEnviron makes the environment of the service in a folder.
func (c *commands) runEnviron(cmd *cli.Command, dir string) ([]string, error) {
	p, err := devrun.Find(dir)
	if err != nil {
		return nil, usagef("%s", err)
	}
	a, err := c.api(cmd)
	if err != nil {
		return nil, err
	}
	data := []string{"data", filepath.Join(filepath.Dir(p.Dir), "data")}
	if cmd.IsSet("data") {
		data = []string{cmd.String("data")}
	}
	gateway := a.base
	if !cmd.IsSet("server") {
		if at := devrun.Gateway(data); at != "" {
			gateway = at
		}
	}
	environ, err := p.Environ(config.Environ(), data, gateway)
	if err != nil {
		return nil, usagef("%s", err)
	}
	return environ, nil
}
