package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/urfave/cli/v3"
)

type sessionRow struct {
	ID, Device, AppID, CreatedAt, ExpiresAt, ParentID string
	Current                                           bool
}

func (c *commands) session() *cli.Command {
	return group("session", "list and end sign-ins",
		c.listCommand(list{
			usage: "list sign-ins that live; * marks this one", method: http.MethodPost, path: fixed("/user-svc/sessions"),
			flags: []cli.Flag{&cli.StringFlag{Name: "user", Usage: "those of the account with this `ID`, for admins"}},
			body: func(cmd *cli.Command) any {
				in := map[string]any{}
				given(in, "userId", cmd.String("user"))
				return in
			},
			header: []string{"ID", "DEVICE", "APP", "CREATED", "EXPIRES"},
			rows: rowsOf("sessions", func(s sessionRow) []string {
				if s.Current {
					s.ID += " *"
				}
				return []string{s.ID, s.Device, s.AppID, s.CreatedAt, s.ExpiresAt}
			}),
		}),
		c.simple("rm", "end sign-ins, with the tokens that were exchanged from them", "ID…", 1, -1, nil,
			func(ctx context.Context, _ *cli.Command, api *api, a []string) (json.RawMessage, string, error) {
				return nil, "ended " + strings.Join(a, " "), each(a, func(id string) error {
					return api.do(ctx, http.MethodDelete, "/user-svc/session/"+url.PathEscape(id), nil, nil)
				})
			}),
	)
}

func (c *commands) keys() *cli.Command {
	return group("keys", "replace the key that signs tokens (for admins)",
		c.simple("rotate", "make a new key; tokens of the old one stay valid until they expire", "", 0, 0, []cli.Flag{
			&cli.BoolFlag{Name: "revoke", Usage: "delete the old keys at once: every access token becomes invalid"},
		}, func(ctx context.Context, cmd *cli.Command, api *api, _ []string) (raw json.RawMessage, done string, err error) {
			if err := api.do(ctx, http.MethodPost, "/user-svc/keys/rotate", map[string]any{"revoke": cmd.Bool("revoke")}, &raw); err != nil {
				return nil, "", err
			}
			var out struct{ KeyID, ActiveFrom string }
			err = json.Unmarshal(raw, &out)
			return raw, "the key " + out.KeyID + " signs from " + out.ActiveFrom + " on", err
		}),
	)
}
