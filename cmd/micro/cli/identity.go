package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/errs"
)

var errSignIn = errs.New(errs.Unauthenticated, "", "sign in first")

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// rowsOf makes a list's rows of the objects in one field of the answer.
func rowsOf[T any](field string, cells func(T) []string) func(json.RawMessage, *table) error {
	return func(raw json.RawMessage, t *table) error {
		var out map[string]json.RawMessage
		if err := json.Unmarshal(raw, &out); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		var objects []T
		if len(out[field]) > 0 {
			if err := json.Unmarshal(out[field], &objects); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
		}
		for _, o := range objects {
			t.add(cells(o)...)
		}
		return nil
	}
}

type userRow struct {
	ID, Slug, Name, CreatedAt string
	Roles                     []string
}

func (c *commands) user() *cli.Command {
	return group("user", "list and change accounts (for admins)",
		c.listCommand(list{
			usage: "list accounts", method: http.MethodPost, path: fixed("/user-svc/users"),
			flags: []cli.Flag{
				&cli.StringFlag{Name: "search", Usage: "`PART` of a slug, a name or a contact"},
				&cli.IntFlag{Name: "limit", Usage: "at most `N` of them", Value: 100},
				&cli.StringFlag{Name: "after", Usage: "go on after this `TIME`, which the page before gave"},
			},
			body: func(cmd *cli.Command) any {
				in := map[string]any{"limit": cmd.Int("limit")}
				given(in, "search", cmd.String("search"))
				given(in, "afterTime", cmd.String("after"))
				return in
			},
			header: []string{"ID", "SLUG", "NAME", "ROLES", "CREATED"},
			rows: rowsOf("users", func(u userRow) []string {
				return []string{u.ID, u.Slug, u.Name, strings.Join(u.Roles, " "), u.CreatedAt}
			}),
		}),
		c.createUser(),
		c.simple("save", "change an account's name", "ID", 1, 1, []cli.Flag{&cli.StringFlag{Name: "name", Required: true, Usage: "the new `NAME`"}},
			func(ctx context.Context, cmd *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
				err = api.do(ctx, http.MethodPut, "/user-svc/user/"+url.PathEscape(a[0]), map[string]any{"name": cmd.String("name")}, &raw)
				return raw, "saved " + a[0], err
			}),
		c.simple("rm", "delete an account for good; its slug stays taken", "ID", 1, 1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
				err = api.do(ctx, http.MethodDelete, "/user-svc/user/"+url.PathEscape(a[0]), nil, &raw)
				return raw, "deleted " + a[0], err
			}),
		c.simple("reset-password", "set an account's password", "ID", 1, 1, c.passwordFlags()[:1],
			func(ctx context.Context, cmd *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
				password, err := c.password(cmd, "New password")
				if err != nil {
					return nil, "", err
				}
				err = api.do(ctx, http.MethodPost, "/user-svc/"+url.PathEscape(a[0])+"/reset-password", map[string]any{"newPassword": password}, &raw)
				return raw, "set the password of " + a[0], err
			}),
		c.simple("passwd", "change the password of the account that is signed in", "", 0, 0, []cli.Flag{
			&cli.StringFlag{Name: "current", Usage: "the current `PASSWORD`", Sources: cli.EnvVars("MICRO_CURRENT_PASSWORD")}, c.passwordFlags()[0],
		}, func(ctx context.Context, cmd *cli.Command, api *api, _ []string) (raw json.RawMessage, done string, err error) {
			current := cmd.String("current")
			if current == "" {
				if current, err = ask(c.Stdin, c.Stderr, "Current password"); err != nil {
					return nil, "", err
				}
			}
			password, err := c.password(cmd, "New password")
			if err != nil {
				return nil, "", err
			}
			err = api.do(ctx, http.MethodPost, "/user-svc/change-password", map[string]any{"currentPassword": current, "newPassword": password}, &raw)
			if err != nil || api.token != "" {
				return raw, "changed the password; all sign-ins of the account have ended", err
			}
			var out struct{ Token signIn }
			err = api.send(ctx, http.MethodPost, "/user-svc/login", "", map[string]any{
				"slug": api.env.Slug, "password": password, "appHost": cmd.String("app"), "device": device,
			}, &out)
			if err != nil {
				return nil, "", fmt.Errorf("the password was changed, but signing in with it failed: %w", err)
			}
			api.keep(out.Token)
			return raw, "changed the password, and signed in again; all other sign-ins of the account have ended", nil
		}),
	)
}

func (c *commands) createUser() *cli.Command {
	return c.simple("create", "create an account for somebody", "SLUG", 1, 1, append([]cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` for people to read"},
		&cli.StringSliceFlag{Name: "role", Usage: "give it the `ROLE`; several times for several"},
	}, c.passwordFlags()...), func(ctx context.Context, cmd *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
		password, err := c.password(cmd, "Password for "+a[0])
		if err != nil {
			return nil, "", err
		}
		in := map[string]any{"user": map[string]any{"slug": a[0], "name": cmd.String("name")}, "password": password, "appHost": cmd.String("app")}
		given(in, "roleIds", cmd.StringSlice("role"))
		err = api.do(ctx, http.MethodPost, "/user-svc/user", in, &raw)
		return raw, "created " + a[0], err
	})
}

type orgRow struct{ ID, Slug, Name, AppID, CreatedAt string }

func (c *commands) org() *cli.Command {
	member := func(name, usage, method, done string) *cli.Command {
		return c.simple(name, usage, "ORGANIZATION-ID USER-ID", 2, 2, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, _ string, err error) {
				err = api.do(ctx, method, "/user-svc/organization/"+url.PathEscape(a[0])+"/user/"+url.PathEscape(a[1]), map[string]any{}, &raw)
				return raw, done + " " + a[1], err
			})
	}
	return group("org", "list and change organizations and who is in them",
		c.listCommand(list{
			usage: "list organizations: yours, or all for an admin", method: http.MethodPost, path: fixed("/user-svc/organizations"),
			body:   func(*cli.Command) any { return map[string]any{} },
			header: []string{"ID", "SLUG", "NAME", "APP", "CREATED"},
			rows: rowsOf("organizations", func(o orgRow) []string {
				return []string{o.ID, o.Slug, o.Name, o.AppID, o.CreatedAt}
			}),
		}),
		c.simple("save", "create an organization, with you as its admin, or change one", "SLUG", 1, 1, []cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "`ID` of the one to change"}, &cli.StringFlag{Name: "name", Usage: "`NAME` for people to read"},
		}, func(ctx context.Context, cmd *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
			in := map[string]any{"slug": a[0]}
			given(in, "id", cmd.String("id"))
			given(in, "name", cmd.String("name"))
			if err := api.do(ctx, http.MethodPut, "/user-svc/organization", in, &raw); err != nil {
				return nil, "", err
			}
			var out struct {
				Token        signIn
				Organization orgRow
			}
			if err := json.Unmarshal(raw, &out); err != nil {
				return nil, "", fmt.Errorf("read answer: %w", err)
			}
			if api.token == "" && out.Token.Token != "" {
				api.keep(out.Token) // it carries the new role
			}
			return raw, "saved " + out.Organization.ID, nil
		}),
		member("add", "make an account a member", http.MethodPut, "added"),
		member("remove", "take a member out, or leave", http.MethodDelete, "removed"),
		c.simple("rm", "delete organizations; their slugs stay taken", "ID…", 1, -1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				return nil, "deleted " + strings.Join(a, " "), each(a, func(id string) error {
					return api.do(ctx, http.MethodDelete, "/user-svc/organization/"+url.PathEscape(id), nil, nil)
				})
			}),
	)
}

type appRow struct{ ID, Host string }

func (c *commands) app() *cli.Command {
	return group("app", "list and change apps: the tenants of the mesh, each known by its host (for admins)",
		c.listCommand(list{
			usage: "list apps", method: http.MethodPost, path: fixed("/user-svc/apps"), body: func(*cli.Command) any { return map[string]any{} },
			header: []string{"ID", "HOST"}, rows: rowsOf("apps", func(a appRow) []string { return []string{a.ID, a.Host} }),
		}),
		c.simple("get", "show the app of a host; for an admin, make it where there is none", "HOST", 1, 1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
				if err := api.do(ctx, http.MethodPost, "/user-svc/app", map[string]any{"host": a[0]}, &raw); err != nil {
					return nil, "", err
				}
				var out struct{ App appRow }
				err = json.Unmarshal(raw, &out)
				return raw, out.App.ID + "  " + out.App.Host, err
			}),
		c.simple("save", "give an app another host", "ID HOST", 2, 2, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
				err = api.do(ctx, http.MethodPut, "/user-svc/app", map[string]any{"id": a[0], "newHost": a[1]}, &raw)
				return raw, "saved " + a[0], err
			}),
		c.simple("rm", "delete apps, with their sign-ins, roles, permits and organizations", "ID…", 1, -1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				return nil, "deleted " + strings.Join(a, " "), each(a, func(id string) error {
					return api.do(ctx, http.MethodDelete, "/user-svc/app/"+url.PathEscape(id), nil, nil)
				})
			}),
	)
}

type enrollRow struct{ ID, AppID, Role, UserID, ContactID, CreatedAt string }

func (c *commands) enroll() *cli.Command {
	return group("enroll", "give roles to accounts and to contacts that may register later, and take them back",
		c.listCommand(list{
			usage: "list enrolls of roles that you own", method: http.MethodPost, path: fixed("/user-svc/enrolls"),
			flags: []cli.Flag{
				&cli.StringFlag{Name: "role", Usage: "only of this `ROLE`"},
				&cli.StringFlag{Name: "user", Usage: "only of the account with this `ID`"},
				&cli.StringFlag{Name: "contact", Usage: "only of this `CONTACT`"},
			},
			body: func(cmd *cli.Command) any {
				in := map[string]any{}
				given(in, "role", cmd.String("role"))
				given(in, "userId", cmd.String("user"))
				given(in, "contactId", cmd.String("contact"))
				return in
			},
			header: []string{"ID", "ROLE", "USER", "CONTACT", "APP"},
			rows:   rowsOf("enrolls", func(e enrollRow) []string { return []string{e.ID, e.Role, e.UserID, e.ContactID, e.AppID} }),
		}),
		c.saveCommand(saved{
			noun: "enroll", plural: "enrolls", path: "/user-svc/enrolls", required: []string{"role"},
			example: "   role: basic-svc:pet:manager\n   userId: usr_…        # or contactId: joe@example.com\n   appHost: \"*\"          # every app; unnamed where it is left out",
		}, []cli.Flag{
			&cli.StringFlag{Name: "role", Usage: "the `ROLE`, such as basic-svc:pet:manager"},
			&cli.StringFlag{Name: "user", Usage: "`ID` of the account"},
			&cli.StringFlag{Name: "contact", Usage: "`CONTACT`, such as an e-mail address"},
			&cli.StringFlag{Name: "app", Usage: "`HOST` of the app; * is every app"},
		}, func(cmd *cli.Command) map[string]any {
			m := map[string]any{}
			given(m, "role", cmd.String("role"))
			given(m, "userId", cmd.String("user"))
			given(m, "contactId", cmd.String("contact"))
			given(m, "appHost", cmd.String("app"))
			return m
		}),
		c.removeCommand("take roles back; the account that holds a role may do it too", "/user-svc/enrolls"),
	)
}

type permitRow struct {
	ID, AppID, Permission string
	Slugs, Roles          []string
}

func (c *commands) permit() *cli.Command {
	return group("permit", "grant permissions to slugs and roles, and take them back",
		c.listCommand(list{
			usage: "list permits of permissions that you own; for an admin, all", method: http.MethodPost, path: fixed("/user-svc/permits"),
			flags: []cli.Flag{
				&cli.StringFlag{Name: "permission", Usage: "only of this `PERMISSION`"},
				&cli.StringFlag{Name: "slug", Usage: "only those of this `SLUG`"},
			},
			body: func(cmd *cli.Command) any {
				in := map[string]any{}
				given(in, "permission", cmd.String("permission"))
				given(in, "slug", cmd.String("slug"))
				return in
			},
			header: []string{"ID", "PERMISSION", "SLUGS", "ROLES", "APP"},
			rows: rowsOf("permits", func(p permitRow) []string {
				return []string{p.ID, p.Permission, strings.Join(p.Slugs, " "), strings.Join(p.Roles, " "), p.AppID}
			}),
		}),
		c.saveCommand(saved{
			noun: "permit", plural: "permits", path: "/user-svc/permits", required: []string{"permission"},
			example: "   permission: basic-svc:pet:edit\n   slugs: [shop-svc]\n   roles: [basic-svc:pet:manager]",
		}, []cli.Flag{
			&cli.StringFlag{Name: "permission", Usage: "the `PERMISSION`, such as basic-svc:pet:edit"},
			&cli.StringSliceFlag{Name: "slug", Usage: "grant it to this `SLUG`"},
			&cli.StringSliceFlag{Name: "role", Usage: "grant it to this `ROLE`"},
			&cli.StringFlag{Name: "app", Usage: "`HOST` of the app; * is every app"},
		}, func(cmd *cli.Command) map[string]any {
			m := map[string]any{}
			given(m, "permission", cmd.String("permission"))
			given(m, "slugs", cmd.StringSlice("slug"))
			given(m, "roles", cmd.StringSlice("role"))
			given(m, "appHost", cmd.String("app"))
			return m
		}),
		c.removeCommand("take permissions back", "/user-svc/permits"),
	)
}
