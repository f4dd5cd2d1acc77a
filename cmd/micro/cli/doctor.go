package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"
)

// level is how bad a finding is.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn"
	levelFail level = "FAIL"
)

// finding is what the doctor says of one part of the mesh.
type finding struct {
	Level  level  `json:"level"`
	Part   string `json:"part"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"` // what to do about it
}

// doctor looks at a mesh from outside, as a caller of its API.
type doctor struct {
	api      *api
	admin    bool // whether the sign-in is an admin's
	findings []finding
}

const doctorAbout = `Looks at the mesh that the command line works with: whether its gateway answers and is ready, its clock and version, the
sign-in, its services and how many of each run, instances that are not healthy, services whose description of themselves is
refused, programs in plain go-micro that can't join, slugs and host routes that lead nowhere.
An admin is told the most. Exit code: 0 where nothing failed, else 1.`

// patience is how long each question of the doctor may take.
const patience = 5 * time.Second

func (c *commands) doctor() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "tell what is wrong with a mesh that runs, and what to do about it", Description: doctorAbout,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			api.client.Timeout = patience
			d := &doctor{api: api}
			d.examine(ctx)
			return c.diagnosis(cmd, d)
		},
	}
}

// examine looks at everything that can be looked at: what is behind a part that doesn't answer is left out.
func (d *doctor) examine(ctx context.Context) {
	if !d.gateway(ctx) {
		return
	}
	users := d.service(ctx, "user-svc", "/user-svc/public-key")
	registry := d.service(ctx, "registry-svc", "/registry-svc/echo")
	if !users || !d.signIn(ctx) {
		return
	}
	if registry {
		d.running(ctx)
	}
	if d.admin {
		d.schemas(ctx)
		d.guests(ctx)
		d.routes(ctx)
	}
}

func (d *doctor) say(l level, part, advice, format string, args ...any) {
	d.findings = append(d.findings, finding{l, part, fmt.Sprintf(format, args...), advice})
}

func (d *doctor) ok(part, format string, args ...any) { d.say(levelOK, part, "", format, args...) }

// diagnosis prints the findings. It is an error where one of them is a failure.
func (c *commands) diagnosis(cmd *cli.Command, d *doctor) error {
	raw, err := json.Marshal(map[string]any{"server": d.api.base, "findings": d.findings})
	if err != nil {
		return err
	}
	err = c.answer(cmd, raw, func() error {
		for _, f := range d.findings {
			line := fmt.Sprintf("%-4s  %s: %s", f.Level, f.Part, f.Text)
			if f.Advice != "" {
				line += " → " + f.Advice
			}
			if err := c.say("%s", printable(line)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range d.findings {
		if f.Level == levelFail {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d findings are failures", bad, len(d.findings))
	}
	return nil
}
