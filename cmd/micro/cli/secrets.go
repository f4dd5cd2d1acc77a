package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"

	"micromesh/internal/provision"
)

const day = 24 * time.Hour

func (c *commands) secrets() *cli.Command {
	return group("secrets", "make what the processes of a mesh need before they can trust each other",
		c.provision("init", "make certificates, logins on NATS and Postgres, and keys; what is there is kept", secretsInit, "secrets", provision.Secrets,
			&cli.StringFlag{Name: "postgres", Usage: "`HOST:PORT` of Postgres", Value: "postgres:5432"}, guests(), natsHosts(), services(), life(),
			&cli.StringFlag{Name: copyTo, Usage: "`DIR` that gets a copy of what the service has that --service names, such as a volume of its own"}),
		c.databases())
}

func (c *commands) certs() *cli.Command {
	return group("certs", "make and renew the certificates that the processes of a mesh show each other",
		c.provision("init", "make an authority for development and a certificate for each service; what is there is kept", certsInit, "certs", provision.Certs,
			natsHosts(), services(), life()),
		c.renew())
}

const certsInit = `In each service's folder, cert.pem and key.pem are what it shows, ca.pem is whom it trusts:

   MICRO_TLS_CERT=certs/user-svc/cert.pem MICRO_TLS_KEY=certs/user-svc/key.pem MICRO_TLS_CA=certs/user-svc/ca.pem user

ca/ca.key signs further certificates, and can be kept elsewhere meanwhile.`

const secretsInit = `Each service needs its own folder alone, nats and postgres theirs. docker-compose.yml shows which file is for what.`

// provision is a command that makes files in a folder.
func (c *commands) provision(name, usage, description, dir string, do func(provision.Config) ([]string, error), flags ...cli.Flag) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Description: description, Flags: append([]cli.Flag{folder(dir)}, flags...),
		Action: func(_ context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			cfg := provision.Config{Dir: cmd.String("dir"), Services: provision.Mesh(), NATSHosts: cmd.StringSlice("nats-host"), Postgres: cmd.String("postgres"), Guests: cmd.String("guests"), Life: time.Duration(cmd.Int("days")) * day}
			others := cmd.StringSlice("service")
			for _, s := range others {
				cfg.Services = append(cfg.Services, provision.Other(s))
			}
			to := cmd.String(copyTo)
			if to == "" {
				return c.written(cmd, cfg, do)
			}
			if len(others) != 1 {
				return usagef("--copy %s is for one service: name it by --service", to)
			}
			return c.written(cmd, cfg, func(cfg provision.Config) ([]string, error) {
				files, err := do(cfg)
				if err == nil {
					err = cfg.Copy(others[0], to)
				}
				return files, err
			})
		},
	}
}

const databasesOf = `Each gets NAME/database.url; postgres/init.sql makes them all, for psql as superuser, whose password is in postgres/password.`

// databases makes logins and databases on Postgres, and nothing else.
func (c *commands) databases() *cli.Command {
	return &cli.Command{
		Name: "databases", Usage: "make a login and a database on Postgres for each of some programs, which need not be of a mesh", ArgsUsage: "NAME...", Description: databasesOf,
		Flags: []cli.Flag{folder("secrets"), &cli.StringFlag{Name: "postgres", Usage: "`HOST:PORT` of Postgres", Value: "postgres:5432"}},
		Action: func(_ context.Context, cmd *cli.Command) error {
			names, err := args(cmd, 1, -1)
			if err != nil {
				return err
			}
			cfg := provision.Config{Dir: cmd.String("dir"), Postgres: cmd.String("postgres")}
			for _, n := range names {
				cfg.Services = append(cfg.Services, provision.Service{Slug: n, Database: true})
			}
			return c.written(cmd, cfg, provision.Databases)
		},
	}
}

func (c *commands) renew() *cli.Command {
	return &cli.Command{
		Name: "renew", Usage: "replace certificates that end soon by such of the same authority and names; processes take them up as they run",
		Flags: []cli.Flag{
			folder("certs"), life(),
			&cli.IntFlag{Name: "within", Usage: "how many `DAYS` are soon", Value: 30},
			&cli.BoolFlag{Name: "all", Usage: "replace all"},
		},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			within := time.Duration(cmd.Int("within")) * day
			if cmd.Bool("all") {
				within = math.MaxInt64
			}
			cfg := provision.Config{Dir: cmd.String("dir"), Life: time.Duration(cmd.Int("days")) * day}
			return c.written(cmd, cfg, func(cfg provision.Config) ([]string, error) { return provision.Renew(cfg, within) })
		},
	}
}

// written does something to a folder and tells which files were written.
func (c *commands) written(cmd *cli.Command, cfg provision.Config, do func(provision.Config) ([]string, error)) error {
	if err := cfg.Validate(); err != nil {
		return usagef("%s", err)
	}
	files, err := do(cfg)
	if path, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, fs.ErrPermission) {
		return usagef("%s is not writable", path.Path)
	}
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"dir": cfg.Dir, "written": append([]string{}, files...)})
	if err != nil {
		return err
	}
	return c.answer(cmd, raw, func() error {
		for _, f := range files {
			if err := c.say("%s", filepath.Join(cfg.Dir, f)); err != nil {
				return err
			}
		}
		if len(files) == 0 {
			return c.say("nothing to do in %s", cfg.Dir)
		}
		return nil
	})
}

const copyTo = "copy"

func folder(dir string) cli.Flag {
	return &cli.StringFlag{Name: "dir", Usage: "`DIR` of the files; it is made where there is none", Value: dir}
}

func services() cli.Flag {
	return &cli.StringSliceFlag{Name: "service", Usage: "`SLUG` of a service beside the mesh's own; may be given several times"}
}

func natsHosts() cli.Flag {
	return &cli.StringSliceFlag{Name: "nats-host", Usage: "`HOST` of a NATS server of a cluster, beside nats; may be given several times"}
}

func guests() cli.Flag {
	return &cli.StringFlag{Name: "guests", Usage: "`HOST:PORT` of a NATS server through which services in plain go-micro join; none where it is left out"}
}

func life() cli.Flag {
	return &cli.IntFlag{Name: "days", Usage: "how many `DAYS` new certificates live", Value: 398}
}
