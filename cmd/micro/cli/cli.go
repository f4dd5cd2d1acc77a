// Package cli is the command line `micro`: it runs a mesh (up), and speaks to one over its HTTP API.
//
// Commands print what people read; with --json they print the API's own answer. Errors go to standard error on one
// line, and the exit code tells their kind: see [ExitCode].
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/errs"
	"micromesh/pkg/host"
	"micromesh/pkg/interrupt"
)

// IO is what the command line has of the world.
type IO struct {
	Stdin  *os.File
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Config string // file of sign-ins
}

// System is the process's own world.
func System() IO {
	config := os.Getenv("MICRO_CONFIG")
	if config == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			dir = "."
		}
		config = filepath.Join(dir, "micromesh", "config.json")
	}
	return IO{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Config: config}
}

// Exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitSignIn
	exitForbidden
	exitNotFound
	exitConflict
	exitUnreachable
)

const exitCodes = `Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 not signed in, 4 not allowed, 5 not found, 6 conflict, 7 the mesh can't be reached or is busy.`

// ExitCode is the exit code of an error.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage), errors.Is(err, errMistakes):
		return exitUsage
	case errors.Is(err, errUnreachable):
		return exitUnreachable
	}
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return exitFailed
	}
	switch e.Kind {
	case errs.Invalid, errs.TooLarge, errs.MethodNotAllowed, errs.Unsupported:
		return exitUsage
	case errs.Unauthenticated:
		return exitSignIn
	case errs.Forbidden:
		return exitForbidden
	case errs.NotFound:
		return exitNotFound
	case errs.Conflict:
		return exitConflict
	case errs.Unavailable, errs.Timeout, errs.TooMany:
		return exitUnreachable
	case errs.Internal:
	}
	return exitFailed
}

// errUsage marks errors of the command line itself.
var errUsage = errors.New("usage")

// errMistakes marks errors of the files that a command reads.
var errMistakes = errors.New("there are mistakes")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}

// Run runs one command line and gives its exit code.
func Run(args []string, sys IO) int {
	ctx, stop := interrupt.Context(context.Background())
	defer stop()
	err := root(sys).Run(ctx, args)
	if err == nil || errors.Is(err, context.Canceled) {
		return exitOK
	}
	report(sys.Stderr, err)
	return ExitCode(err)
}

// report prints an error on a line, and a line for each detail of the input.
func report(w io.Writer, err error) {
	fmt.Fprintln(w, "micro:", err)
	if e, ok := errors.AsType[*errs.Error](err); ok && len(e.Details) > 1 {
		for _, d := range e.Details {
			fmt.Fprintf(w, "  %s %s\n", d.Field, d.Message)
		}
	}
	if ExitCode(err) == exitSignIn {
		fmt.Fprintln(w, "  sign in with: micro login <slug>")
	}
}

func root(sys IO) *cli.Command {
	c := &commands{IO: sys}
	cmd := &cli.Command{
		Name:    "micro",
		Usage:   "run a microservice mesh, and work with it",
		Version: host.Version,
		Description: "Start a mesh on this machine with `micro up`, sign in with `micro login admin`, and go on from there.\n\n" +
			exitCodes,
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(cmd *cli.Command) {
			cmd.Hidden = false
			cmd.Usage = "print the completion script of a shell: bash, zsh, fish or pwsh"
		},
		Suggest:         true,
		HideHelpCommand: true,
		Reader:          sys.Stdin,
		Writer:          sys.Stdout,
		ErrWriter:       sys.Stderr,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // Run reports
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "server", Usage: "`URL` of the mesh's gateway; the environment's where it is left out", Sources: cli.EnvVars("MICRO_SERVER", "OB_SERVER_URL")},
			&cli.StringFlag{Name: "token", Usage: "`TOKEN` to call with, in place of the one that login stored", Sources: cli.EnvVars("MICRO_TOKEN")},
			&cli.StringFlag{Name: "env", Usage: "`NAME` of the environment to work with; see `micro env`", Sources: cli.EnvVars("MICRO_ENV")},
			&cli.BoolFlag{Name: "json", Usage: "print the API's answer as JSON"},
		},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return usagef("there is no command %q: see `micro --help`", cmd.Args().First())
			}
			return cli.ShowRootCommandHelp(cmd)
		},
		Commands: []*cli.Command{
			c.up(), c.login(), c.logout(), c.register(), c.whoami(), c.token(), c.session(), c.env(),
			c.user(), c.org(), c.app(), c.enroll(), c.permit(),
			c.instance(), c.definition(), c.node(), c.route(), c.cert(),
			c.call(), c.events(), c.healthcheck(), c.doctor(), c.gateway(), c.gen(),
			c.secrets(), c.certs(), c.keys(),
			c.new(), c.run(),
		},
	}
	explainUsage(cmd)
	return cmd
}

// explainUsage makes a command and all below it tell a wrong flag on one line, where the library prints the whole help.
func explainUsage(cmd *cli.Command) {
	cmd.OnUsageError = func(_ context.Context, cmd *cli.Command, err error, _ bool) error {
		return usagef("%s: see `%s --help`", strings.TrimSpace(err.Error()), cmd.FullName())
	}
	for _, sub := range cmd.Commands {
		explainUsage(sub)
	}
}

// commands makes the commands.
type commands struct {
	IO
}

// group is a command that has only subcommands.
func group(name, usage string, sub ...*cli.Command) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Commands: sub, HideHelpCommand: true,
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return usagef("there is no command %q: see `micro %s --help`", name+" "+cmd.Args().First(), name)
			}
			return cli.ShowSubcommandHelp(cmd)
		},
	}
}

// groupOr makes a group do what one of its subcommands does where none is named.
func groupOr(sub, g *cli.Command) *cli.Command {
	unknown := g.Action
	g.Action = func(ctx context.Context, cmd *cli.Command) error {
		if cmd.Args().Present() {
			return unknown(ctx, cmd)
		}
		return sub.Action(ctx, cmd)
	}
	return g
}

// args checks the number of arguments: least, and most where it isn't negative.
func args(cmd *cli.Command, least, most int) ([]string, error) {
	a := cmd.Args().Slice()
	if len(a) < least || (most >= 0 && len(a) > most) {
		return nil, usagef("micro %s %s", cmd.FullName()[len("micro "):], cmd.ArgsUsage)
	}
	return a, nil
}
