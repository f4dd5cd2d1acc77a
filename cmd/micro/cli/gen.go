package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"
	"golang.org/x/mod/modfile"

	"micromesh/internal/protogen"
)

func (c *commands) gen() *cli.Command {
	return &cli.Command{
		Name: "gen", Usage: "generate the Go code of a module's .proto files: messages, go-micro stubs, and fakes of their interfaces", ArgsUsage: "[DIR]",
		Description: "DIR is in the module; the working folder where it is left out. The sources lie in its folder proto, and their go_package says where the\n" +
			"code goes. No protoc is needed. What a gateway would refuse is refused here, with its file and line.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "check", Usage: "write nothing, and fail where a file would change"}},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 0, 1)
			if err != nil {
				return err
			}
			dir := "."
			if len(a) == 1 {
				dir = a[0]
			}
			cfg, err := module(dir)
			if err != nil {
				return err
			}
			cfg.Check = cmd.Bool("check")
			written, err := protogen.Run(ctx, cfg)
			if err != nil {
				return fmt.Errorf("%w:\n%w", errMistakes, err)
			}
			for _, file := range written {
				if _, err := fmt.Fprintln(c.Stdout, file); err != nil {
					return err
				}
			}
			if len(written) == 0 {
				_, err = fmt.Fprintln(c.Stdout, "nothing to do")
			}
			return err
		},
	}
}

// module finds the module that a folder is in, and its sources.
func module(dir string) (cfg protogen.Config, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return cfg, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		content, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil {
			cfg.Dir, cfg.Module = at, modfile.ModulePath(content)
			break
		}
		if at == filepath.Dir(at) {
			return cfg, usagef("%s is in no Go module: there is no go.mod in it, or above", dir)
		}
	}
	for _, root := range protogen.Roots() {
		if fi, err := fs.Stat(os.DirFS(cfg.Dir), root); err == nil && fi.IsDir() {
			cfg.Roots = append(cfg.Roots, root)
		}
	}
	if len(cfg.Roots) == 0 {
		return cfg, usagef("the module %s has no folder proto with .proto files in it", cfg.Module)
	}
	return cfg, nil
}
