package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/config"
	"micromesh/pkg/host"
)

// errUsage marks what is wrong with the settings or the command line.
var errUsage = errors.New("usage")

// Run runs one command line, and gives the exit code: 0 done, 1 failed, 2 wrong settings.
func Run(ctx context.Context, s Service, args []string, environ map[string]string, stdout, stderr io.Writer) int {
	err := s.command(environ, stdout, stderr).Run(ctx, args)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, strings.TrimPrefix(err.Error(), errUsage.Error()+": "))
		return 2
	}
	fmt.Fprintln(stderr, err)
	return 1
}

// command is the service's command line: a flag for each setting.
func (s Service) command(environ map[string]string, stdout, stderr io.Writer) *cli.Command {
	var own Config
	own.Health = s.Health
	settings := config.Settings(s.Config, &own)
	parse := func(cmd *cli.Command) error { return s.parse(cmd, settings, environ, &own) }
	return &cli.Command{
		Name: strings.TrimSuffix(s.Name, "-svc"), Usage: s.Usage, Version: host.Version,
		Description: "Each setting is a flag or a variable of the environment; what is marked with * may lie in a file that NAME_FILE names.",
		Writer:      stdout, ErrWriter: stderr, HideHelpCommand: true,
		Flags: s.flags(settings),
		OnUsageError: func(_ context.Context, _ *cli.Command, err error, _ bool) error {
			return fmt.Errorf("%w: %w", errUsage, err)
		},
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return fmt.Errorf("%w: %q is no command; see --help", errUsage, cmd.Args().First())
			}
			if err := parse(cmd); err != nil {
				return err
			}
			return s.serve(ctx, own, stderr)
		},
		Commands: []*cli.Command{{
			Name: "healthcheck", Usage: "tell whether the service that runs with these settings is ready: exit code 0 or 1",
			Action: func(ctx context.Context, cmd *cli.Command) error {
				// Other settings may be missing where only this is asked.
				if err := s.parse(cmd.Root(), settings, environ, &own); own.healthAddress() == "" {
					return fmt.Errorf("%w: MICRO_HEALTH_ADDRESS names nothing to ask: %w", errUsage, err)
				}
				return healthcheck(ctx, own.healthAddress(), stdout)
			},
		}},
	}
}

func (s Service) flags(settings []config.Setting) []cli.Flag {
	var flags []cli.Flag
	for _, set := range settings {
		mark := ""
		if set.Secret {
			mark = "*"
		}
		usage := fmt.Sprintf("%s [%s%s]", set.Help, set.Env, mark)
		text := set.Default
		if set.Env == "MICRO_HEALTH_ADDRESS" {
			text = s.Health
		}
		if set.Bool {
			flags = append(flags, &cli.BoolFlag{Name: set.Flag(), Usage: usage})
			continue
		}
		flags = append(flags, &cli.StringFlag{Name: set.Flag(), Usage: usage, DefaultText: text})
	}
	return flags
}

// parse reads all settings, and tells everything that is wrong with them at once.
func (s Service) parse(cmd *cli.Command, settings []config.Setting, environ map[string]string, own *Config) error {
	environ = maps.Clone(environ)
	for _, set := range settings {
		if !cmd.IsSet(set.Flag()) {
			continue
		}
		if set.Bool {
			environ[set.Env] = strconv.FormatBool(cmd.Bool(set.Flag()))
		} else {
			environ[set.Env] = cmd.String(set.Flag())
		}
		delete(environ, set.Env+"_FILE")
	}
	own.keyFile = environ["MICRO_SECRET_KEY_FILE"]
	environ, missing := config.Resolve(environ, settings)
	malformed := errors.Join(missing, config.Parse(environ, s.Config, own))
	if err := config.Join(malformed, config.Validate(s.Config, own)); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return nil
}
