package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/events"
)

func (c *commands) eventsDead() *cli.Command {
	return &cli.Command{
		Name: "dead", Usage: "list events that consumers have given up on, and why",
		Flags: []cli.Flag{&cli.StringFlag{Name: "consumer", Usage: "those of the consumer `NAME` alone"}},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			q := url.Values{"consumer": {cmd.String("consumer")}}
			if err := api.do(ctx, http.MethodGet, "/gateway-svc/dead?"+q.Encode(), nil, &raw); err != nil {
				return err
			}
			return c.answer(cmd, raw, func() error { return c.printDead(raw) })
		},
	}
}

func (c *commands) printDead(raw json.RawMessage) error {
	var out struct{ Dead []events.DeadLetter }
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for _, l := range out.Dead {
		if err := c.say("%s  %s  %s  %s  key %q  %d tries  %s", l.Consumer, l.ID, l.Topic, l.Type, l.Key, l.Tries, l.Why); err != nil {
			return err
		}
	}
	return nil
}

func (c *commands) eventsReplay() *cli.Command {
	return &cli.Command{
		Name: "replay", Usage: "give a consumer the events back that it has given up on, once each",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "consumer", Required: true, Usage: "the consumer's `NAME`"},
			&cli.StringFlag{Name: "id", Usage: "the event with this `ID` alone"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			q := url.Values{"consumer": {cmd.String("consumer")}, "id": {cmd.String("id")}}
			if err := api.do(ctx, http.MethodPost, "/gateway-svc/replay?"+q.Encode(), nil, &raw); err != nil {
				return err
			}
			var out struct{ Replayed int }
			if err := json.Unmarshal(raw, &out); err != nil {
				return fmt.Errorf("read answer: %w", err)
			}
			return c.answer(cmd, raw, func() error { return c.say("%d given back", out.Replayed) })
		},
	}
}
