package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

// device is what sign-ins of the command line are listed under.
const device = "micro-cli"

func (c *commands) passwordFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from standard input"},
		&cli.StringFlag{Name: "app", Usage: "`HOST` of the app (tenant)", Value: "unnamed"},
	}
}

// password reads a password: from standard input where asked to, from MICRO_PASSWORD, or from the person at the terminal.
func (c *commands) password(cmd *cli.Command, prompt string) (string, error) {
	if cmd.Bool("password-stdin") {
		s, err := bufio.NewReader(c.Stdin).ReadString('\n')
		if s = strings.TrimRight(s, "\r\n"); s == "" {
			return "", usagef("standard input holds no password (%v)", err)
		}
		return s, nil
	}
	if s := c.Getenv("MICRO_PASSWORD"); s != "" {
		return s, nil
	}
	if !term.IsTerminal(int(c.Stdin.Fd())) {
		return "", usagef("there is no terminal to ask for the password: set MICRO_PASSWORD, or give it with --password-stdin")
	}
	return ask(c.Stdin, c.Stderr, prompt)
}

func ask(in *os.File, out interface{ Write([]byte) (int, error) }, prompt string) (string, error) {
	fmt.Fprint(out, prompt+": ")
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(out)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return string(b), nil
}

func (c *commands) login() *cli.Command {
	return &cli.Command{
		Name: "login", Usage: "sign in, and keep the sign-in for the commands that follow", ArgsUsage: "SLUG",
		Description: "The password comes from the terminal, from MICRO_PASSWORD, or from standard input with --password-stdin.\n\n" +
			"   micro login admin\n   echo \"$SECRET\" | micro login basic-svc --password-stdin",
		Flags: c.passwordFlags(),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 1, 1)
			if err != nil {
				return err
			}
			password, err := c.password(cmd, "Password of "+a[0])
			if err != nil {
				return err
			}
			return c.enter(ctx, cmd, "/user-svc/login", a[0], map[string]any{
				"slug": a[0], "password": password, "appHost": cmd.String("app"), "device": device,
			})
		},
	}
}

func (c *commands) register() *cli.Command {
	return &cli.Command{
		Name: "register", Usage: "create an account, of a person or of a service, and sign in with it", ArgsUsage: "SLUG",
		Flags: append(c.passwordFlags(),
			&cli.StringFlag{Name: "name", Usage: "`NAME` for people to read"},
			&cli.StringFlag{Name: "email", Usage: "e-mail `ADDRESS`, as a contact"},
			&cli.StringFlag{Name: "otp-id", Usage: "`ID` of the one-time code that was sent to the contact"},
			&cli.StringFlag{Name: "otp-code", Usage: "the one-time `CODE`"},
		),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 1, 1)
			if err != nil {
				return err
			}
			password, err := c.password(cmd, "Password for "+a[0])
			if err != nil {
				return err
			}
			in := map[string]any{"slug": a[0], "name": cmd.String("name"), "password": password, "appHost": cmd.String("app"), "device": device}
			if email := cmd.String("email"); email != "" {
				in["contact"] = map[string]any{"id": email, "platform": "email", "otpId": cmd.String("otp-id"), "otpCode": cmd.String("otp-code")}
			}
			return c.enter(ctx, cmd, "/user-svc/register", a[0], in)
		},
	}
}

// enter signs in by a call that answers a token, and keeps it.
func (c *commands) enter(ctx context.Context, cmd *cli.Command, path, slug string, in map[string]any) error {
	api, err := c.api(cmd)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := api.send(ctx, http.MethodPost, path, "", in, &raw); err != nil {
		return err
	}
	var out struct{ Token signIn }
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	t := out.Token
	err = api.update(func() error {
		api.env.Slug, api.env.Token, api.env.RefreshToken, api.env.ExpiresAt = slug, t.Token, t.RefreshToken, t.ExpiresAt
		return nil
	})
	if err != nil {
		return err
	}
	return c.answer(cmd, raw, func() error { return c.say("signed in to %s as %s", api.base, api.env.Slug) })
}

func (c *commands) logout() *cli.Command {
	return c.simple("logout", "end the sign-in", "", 0, 0, nil, func(ctx context.Context, _ *cli.Command, api *api, _ []string) (json.RawMessage, string, error) {
		var raw json.RawMessage
		err := api.do(ctx, http.MethodDelete, "/user-svc/tokens", map[string]any{}, &raw)
		if err != nil && ExitCode(err) != exitSignIn { // a sign-in that has ended already is what was wanted
			return nil, "", err
		}
		slug := api.env.Slug
		return raw, "signed out " + slug, api.update(func() error {
			*api.env = environment{URL: api.env.URL}
			return nil
		})
	})
}

func (c *commands) whoami() *cli.Command {
	return &cli.Command{
		Name: "whoami", Usage: "show the account that is signed in",
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := api.do(ctx, http.MethodPost, "/user-svc/self", map[string]any{"countTokens": true}, &raw); err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error { return c.sayWho(api, raw) })
		},
	}
}

func (c *commands) sayWho(api *api, raw json.RawMessage) error {
	var self struct {
		User          struct{ ID, Slug, Name string }
		Roles         []string
		Contacts      []struct{ Handle, Platform string }
		Organizations []struct{ Slug string }
		TokenCount    int
	}
	if err := json.Unmarshal(raw, &self); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	t := &table{header: []string{"MESH", api.base}}
	t.add("SLUG", self.User.Slug)
	t.add("NAME", self.User.Name)
	t.add("ID", self.User.ID)
	t.add("ROLES", strings.Join(self.Roles, " "))
	for _, o := range self.Organizations {
		t.add("ORGANIZATION", o.Slug)
	}
	for _, k := range self.Contacts {
		t.add("CONTACT", k.Platform+" "+k.Handle)
	}
	t.add("TOKENS", strconv.Itoa(self.TokenCount))
	return c.printTable(t)
}

func (c *commands) token() *cli.Command {
	show := c.simple("show", "print the token, for other programs", "", 0, 0, nil, func(ctx context.Context, _ *cli.Command, api *api, _ []string) (json.RawMessage, string, error) {
		token := api.bearer(ctx)
		if token == "" {
			return nil, "", fmt.Errorf("nobody is signed in to %s: %w", api.base, errSignIn)
		}
		raw, err := json.Marshal(map[string]string{"token": token, "expiresAt": api.env.ExpiresAt})
		return raw, token, err
	})
	refresh := c.simple("refresh", "rotate the token now", "", 0, 0, nil, func(ctx context.Context, _ *cli.Command, api *api, _ []string) (json.RawMessage, string, error) {
		with := api.env.RefreshToken
		if api.token != "" || with == "" {
			with = api.bearer(ctx)
		}
		var raw json.RawMessage
		if err := api.send(ctx, http.MethodPost, "/user-svc/refresh-token", with, nil, &raw); err != nil {
			return nil, "", err
		}
		var out struct{ Token signIn }
		if err := json.Unmarshal(raw, &out); err != nil {
			return nil, "", fmt.Errorf("read answer: %w", err)
		}
		if api.token == "" {
			api.keep(out.Token)
		}
		return raw, "refreshed; the token expires at " + out.Token.ExpiresAt, nil
	})
	revoke := c.simple("revoke", "end sign-ins: this one, those of a device, or all", "", 0, 0, []cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "end all sign-ins of the account"},
		&cli.StringFlag{Name: "device", Usage: "end those of the device `NAME`"},
		&cli.StringFlag{Name: "user", Usage: "`ID` of another account, for admins"},
	}, func(ctx context.Context, cmd *cli.Command, api *api, _ []string) (json.RawMessage, string, error) {
		in := map[string]any{"allTokens": cmd.Bool("all")}
		given(in, "device", cmd.String("device"))
		given(in, "userId", cmd.String("user"))
		if cmd.Bool("all") && cmd.String("user") == "" { // an admin who names no account would sign everyone out
			var me struct{ User struct{ ID string } }
			if err := api.do(ctx, http.MethodPost, "/user-svc/self", nil, &me); err != nil {
				return nil, "", err
			}
			in["userId"] = me.User.ID
		}
		var raw json.RawMessage
		err := api.do(ctx, http.MethodDelete, "/user-svc/tokens", in, &raw)
		return raw, "revoked", err
	})
	return groupOr(show, group("token", "print, rotate or revoke the token", show, refresh, revoke))
}

func (c *commands) env() *cli.Command {
	ls := &cli.Command{
		Name: "ls", Usage: "list the meshes that are known here",
		Action: func(_ context.Context, cmd *cli.Command) error {
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			return c.printEnvironments(cmd, cfg)
		},
	}
	change := func(name, usage, argsUsage string, n int, f func(cfg *settingsFile, a []string) (string, error)) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: argsUsage, Action: func(_ context.Context, cmd *cli.Command) error {
			a, err := args(cmd, n, n)
			if err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			done, err := f(cfg, a)
			if err != nil {
				return err
			}
			if err := cfg.save(); err != nil {
				return err
			}
			return c.answer(cmd, nil, func() error { return c.say("%s", done) })
		}}
	}
	g := group("env", "choose which mesh to work with", ls,
		change("set", "add an environment, or change its URL", "NAME URL", 2, func(cfg *settingsFile, a []string) (string, error) {
			cfg.Environments[a[0]] = &environment{URL: strings.TrimSuffix(a[1], "/")} // a sign-in is of one mesh only
			return a[0] + " is at " + a[1], nil
		}),
		change("use", "make an environment the one to work with", "NAME", 1, func(cfg *settingsFile, a []string) (string, error) {
			if cfg.Environments[a[0]] == nil {
				return "", usagef("there is no environment %q: see `micro env ls`", a[0])
			}
			cfg.Current = a[0]
			return "working with " + a[0], nil
		}),
		change("rm", "forget an environment and its sign-in", "NAME", 1, func(cfg *settingsFile, a []string) (string, error) {
			if cfg.Environments[a[0]] == nil {
				return "", usagef("there is no environment %q: see `micro env ls`", a[0])
			}
			delete(cfg.Environments, a[0])
			if cfg.Current == a[0] {
				cfg.Current = "local"
			}
			return "forgot " + a[0], nil
		}),
	)
	return groupOr(ls, g)
}

func (c *commands) printEnvironments(cmd *cli.Command, cfg *settingsFile) error {
	type row struct {
		Name    string `json:"name"`
		URL     string `json:"url"`
		Slug    string `json:"slug"`
		Current bool   `json:"current"`
	}
	var rows []row
	t := &table{header: []string{"", "NAME", "URL", "SIGNED IN AS"}}
	for _, name := range sortedKeys(cfg.Environments) {
		e := cfg.Environments[name]
		rows = append(rows, row{name, e.URL, e.Slug, name == cfg.Current})
		mark := " "
		if name == cfg.Current {
			mark = "*"
		}
		t.add(mark, name, e.URL, e.Slug)
	}
	raw, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return c.answer(cmd, raw, func() error { return c.printTable(t) })
}
