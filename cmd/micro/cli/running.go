package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/errs"
)

type instanceRow struct {
	ID, URL, Status, Slug, LastHeartbeat string
	Metadata                             map[string]string
}

// kind returns guest, rpc or instance: a guest is a service in plain go-micro, and rpc one of the mesh with a contract.
func (i instanceRow) kind() string {
	switch {
	case i.Metadata["via"] == "stock":
		return "guest"
	case strings.HasPrefix(i.URL, "grpc://"):
		return "rpc"
	}
	return "instance"
}

func (c *commands) instance() *cli.Command {
	filters := []string{"slug", "id", "host", "ip", "scheme"}
	flags := make([]cli.Flag, len(filters))
	for i, f := range filters {
		flags[i] = &cli.StringFlag{Name: f, Usage: "only with this `" + strings.ToUpper(f) + "`"}
	}
	flags = append(flags, outputFlag())
	return group("instance", "list, register and remove instances of services",
		c.listCommand(list{
			usage: "list your instances; for an admin, all", method: http.MethodGet, flags: flags,
			path: func(cmd *cli.Command) (string, error) {
				q := url.Values{}
				for _, f := range filters {
					if v := cmd.String(f); v != "" {
						q.Set(f, v)
					}
				}
				if len(q) == 0 {
					return "/registry-svc/instances", nil
				}
				return "/registry-svc/instances?" + q.Encode(), nil
			},
			header: []string{"ID", "URL", "STATUS", "OWNER SLUG", "LAST HEARTBEAT"},
			wide:   []string{"KIND", "VERSION"},
			rows: rowsOf("instances", func(i instanceRow) []string {
				return []string{i.ID, i.URL, i.Status, i.Slug, ago(i.LastHeartbeat, time.Now()), i.kind(), i.Metadata["version"]}
			}),
		}),
		c.simple("register", "register where an instance of your slug listens", "URL", 1, 1, []cli.Flag{
			&cli.StringFlag{Name: "health-path", Usage: "`PATH` of its health check, such as /healthz"},
			&cli.StringFlag{Name: "slug", Usage: "the owner's `SLUG`, for admins"},
			&cli.StringFlag{Name: "id", Usage: "`ID` of the instance, to move it to another URL"},
		}, func(ctx context.Context, cmd *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
			in := map[string]any{"url": a[0]}
			given(in, "healthPath", cmd.String("health-path"))
			given(in, "slug", cmd.String("slug"))
			given(in, "id", cmd.String("id"))
			if err := api.do(ctx, http.MethodPut, "/registry-svc/instance", in, &raw); err != nil {
				return nil, "", err
			}
			var out struct{ ID string }
			err = json.Unmarshal(raw, &out)
			return raw, "registered " + out.ID, err
		}),
		c.simple("rm", "take instances out of the mesh", "ID…", 1, -1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				return nil, "removed " + strings.Join(a, " "), each(a, func(id string) error {
					return api.do(ctx, http.MethodDelete, "/registry-svc/instance/"+url.PathEscape(id), nil, nil)
				})
			}),
	)
}

// ago returns how long ago a time of the API was, in one unit; anything else as it is.
func ago(text string, now time.Time) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	d := max(now.Sub(at), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// each does something for all names, and tells all that failed.
func each(names []string, f func(string) error) error {
	var wrong []error
	for _, n := range names {
		if err := f(n); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", n, err))
		}
	}
	return errors.Join(wrong...)
}

type definitionRow struct {
	ID         string
	Image      struct{ Name string }
	Repository struct{ URL string }
}

func (c *commands) definition() *cli.Command {
	return group("definition", "list and save definitions of services",
		c.listCommand(list{
			usage: "list definitions", method: http.MethodGet, path: fixed("/registry-svc/definitions"), header: []string{"ID", "IMAGE", "REPOSITORY"},
			rows: rowsOf("definitions", func(d definitionRow) []string { return []string{d.ID, d.Image.Name, d.Repository.URL} }),
		}),
		c.simple("save", "save definitions from a file, from all files of a folder, or from standard input (-)", "FILE|FOLDER|-", 1, 1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				docs, err := c.readDocuments(a[0])
				if err != nil {
					return nil, "", err
				}
				if err := require(docs, "id"); err != nil {
					return nil, "", err
				}
				var wrong []error
				for _, d := range docs {
					if err := api.do(ctx, http.MethodPut, "/registry-svc/definition", map[string]any{"definition": d.fields}, nil); err != nil {
						wrong = append(wrong, fmt.Errorf("%s: %s: %w", d.where, d.text("id"), err))
					}
				}
				return nil, fmt.Sprintf("saved %d definitions", len(docs)), errors.Join(wrong...)
			}),
		c.simple("rm", "delete definitions", "ID…", 1, -1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				return nil, "deleted " + strings.Join(a, " "), each(a, func(id string) error {
					return api.do(ctx, http.MethodDelete, "/registry-svc/definition/"+url.PathEscape(id), nil, nil)
				})
			}),
	)
}

type usage struct{ Percent, Total, Used float64 }

type nodeRow struct {
	ID, URL, Region, LastHeartbeat string
	Usage                          struct{ CPU, Memory, Disk usage }
}

func (u usage) String() string { return fmt.Sprintf("%.0f%%", u.Percent) }

func (n nodeRow) cells() []string {
	return []string{n.ID, n.URL, n.Usage.CPU.String(), n.Usage.Memory.String(), n.Usage.Disk.String(), n.LastHeartbeat}
}

var nodeHeader = []string{"ID", "URL", "CPU", "MEMORY", "DISK", "LAST HEARTBEAT"}

func (c *commands) node() *cli.Command {
	return group("node", "list the machines that the mesh runs on",
		c.listCommand(list{
			usage: "list nodes", method: http.MethodPost, path: fixed("/registry-svc/nodes"), body: func(*cli.Command) any { return map[string]any{} },
			header: nodeHeader, rows: rowsOf("nodes", nodeRow.cells),
		}),
		&cli.Command{Name: "self", Usage: "show the node that the registry runs on", Action: func(ctx context.Context, cmd *cli.Command) error {
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := api.do(ctx, http.MethodGet, "/registry-svc/node/self", nil, &raw); err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error {
				var out struct{ Node nodeRow }
				if err := json.Unmarshal(raw, &out); err != nil {
					return fmt.Errorf("read answer: %w", err)
				}
				return c.printTable(&table{header: nodeHeader, rows: [][]string{out.Node.cells()}})
			})
		}},
		c.simple("rm", "forget nodes", "URL…", 1, -1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				return nil, "forgot " + strings.Join(a, " "), each(a, func(u string) error {
					return api.do(ctx, http.MethodDelete, "/registry-svc/node/"+url.PathEscape(u), nil, nil)
				})
			}),
	)
}

type routeRow struct{ ID, Target string }

func (c *commands) route() *cli.Command {
	return group("route", "lead hosts, and paths below them, to URLs (for admins)",
		c.listCommand(list{
			usage: "list routes", method: http.MethodPost, path: fixed("/proxy-svc/routes"), body: func(*cli.Command) any { return map[string]any{} },
			header: []string{"ID", "TARGET"}, rows: rowsOf("routes", func(r routeRow) []string { return []string{r.ID, r.Target} }),
		}),
		c.saveCommand(saved{
			noun: "route", plural: "routes", path: "/proxy-svc/routes", required: []string{"id", "target"},
			example: "   - id: shop.example.com\n     target: http://127.0.0.1:9001\n   - id: shop.example.com/api   # the longest matching path wins\n     target: http://127.0.0.1:9002",
		}, []cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "`HOST` or HOST/PATH"}, &cli.StringFlag{Name: "target", Usage: "`URL` that it leads to"},
		}, func(cmd *cli.Command) map[string]any {
			m := map[string]any{}
			given(m, "id", cmd.String("id"))
			given(m, "target", cmd.String("target"))
			return m
		}),
		c.routeRemove(),
	)
}

// routeRemove is as removeCommand. The API answers 200 for routes that there aren't, so it looks first: a misspelt id must not seem deleted.
func (c *commands) routeRemove() *cli.Command {
	return c.simple("rm", "delete routes", "ID…", 1, -1, nil, func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
		for _, id := range a {
			var found struct{ Routes []routeRow }
			if err := api.do(ctx, http.MethodPost, "/proxy-svc/routes", map[string]any{"ids": []string{id}}, &found); err != nil {
				return nil, "", err
			}
			if len(found.Routes) == 0 {
				return nil, "", errs.NotFoundf("there is no route %q; none was deleted", id)
			}
		}
		err = api.do(ctx, http.MethodDelete, "/proxy-svc/routes", map[string]any{"ids": a}, &raw)
		return raw, "deleted " + strings.Join(a, " "), err
	})
}

type certRow struct {
	ID, CommonName, Issuer, NotAfter string
	DNSNames                         []string
}

func (c *commands) cert() *cli.Command {
	return group("cert", "list, save and delete certificates of hosts (for admins)",
		c.listCommand(list{
			usage: "list certificates; private keys are never shown", method: http.MethodPost, path: fixed("/proxy-svc/certs"), body: func(*cli.Command) any { return map[string]any{} },
			header: []string{"ID", "NAMES", "ISSUER", "NOT AFTER"},
			rows: rowsOf("certs", func(r certRow) []string {
				return []string{r.ID, strings.Join(r.DNSNames, " "), r.Issuer, r.NotAfter}
			}),
		}),
		c.simple("save", "save a host's certificate: a PEM file of the chain and the private key", "HOST FILE", 2, 2, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (raw json.RawMessage, done string, err error) {
				pem, err := os.ReadFile(a[1])
				if err != nil {
					return nil, "", usagef("%s", err)
				}
				in := map[string]any{"certs": []map[string]any{{"id": a[0], "cert": string(pem)}}}
				err = api.do(ctx, http.MethodPut, "/proxy-svc/certs", in, &raw)
				return raw, "saved the certificate of " + a[0], err
			}),
		c.removeCommand("delete the certificates of hosts, with their private keys", "/proxy-svc/certs", "HOST…"),
	)
}
