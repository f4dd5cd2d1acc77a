package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/events"
)

func (c *commands) call() *cli.Command {
	return &cli.Command{
		Name: "call", Usage: "call a service through the gateway: an HTTP method and path, or a method by its name",
		ArgsUsage: "METHOD PATH [BODY] | SERVICE.METHOD [JSON]",
		Description: "The sign-in's token goes with the call. A BODY of - is read from standard input. SERVICE is a slug, the slug without\n" +
			"-svc, or the service's name in its .proto; JSON is checked against what the mesh's /openapi.json says before it is sent.\n\n" +
			"   micro call GET /basic-svc/hello\n   micro call PUT /basic-svc/pet '{\"name\":\"Rex\"}'\n   micro call user-svc.readSelf\n   micro call account.Create '{\"name\":\"Ann\"}'\n   micro call user-svc.hasPermission '{\"permission\":\"basic-svc:pet:edit\"}'",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "header", Aliases: []string{"H"}, Usage: "send the header `\"NAME: VALUE\"`"},
			&cli.BoolFlag{Name: "include", Aliases: []string{"i"}, Usage: "print the answer's status and headers too"},
		},
		ShellComplete: c.completeCall,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			a, err := args(cmd, 1, 3)
			if err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			method, path, body, err := c.callTarget(ctx, api, a)
			if err != nil {
				return err
			}
			return c.exchange(ctx, cmd, api, method, path, body)
		},
	}
}

// callTarget finds what the arguments name.
func (c *commands) callTarget(ctx context.Context, api *api, a []string) (method, path, body string, err error) {
	byPath := len(a) >= 2 && strings.HasPrefix(a[1], "/")
	rest := a[1:]
	if byPath {
		rest = a[2:]
	}
	if len(rest) > 1 {
		return "", "", "", usagef("micro call SERVICE.METHOD [JSON]")
	}
	if len(rest) == 1 {
		body = rest[0]
	}
	if body == "-" {
		b, err := io.ReadAll(c.Stdin)
		if err != nil {
			return "", "", "", fmt.Errorf("read body: %w", err)
		}
		body = string(b)
	}
	if byPath {
		return strings.ToUpper(a[0]), a[1], body, nil
	}
	return api.operation(ctx, a[0], body)
}

// exchange sends the request and prints the answer as it comes: JSON indented, anything else byte for byte.
func (c *commands) exchange(ctx context.Context, cmd *cli.Command, a *api, method, path, body string) error {
	given := http.Header{}
	for _, h := range cmd.StringSlice("header") {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return usagef("--header %q: it must be \"NAME: VALUE\"", h)
		}
		given.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	stream := *a.client
	stream.Timeout = 0 // an answer may be a stream
	send := func(token string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, a.base+path, strings.NewReader(body))
		if err != nil {
			return nil, usagef("%s %s is no request: %s", method, path, err)
		}
		speak(req)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		maps.Copy(req.Header, given)
		rsp, err := stream.Do(req)
		if err != nil {
			return nil, a.unreachable(err)
		}
		return rsp, nil
	}
	call := func() (*http.Response, error) { return a.asCaller(ctx, send) }
	if given.Get("Authorization") != "" {
		call = func() (*http.Response, error) { return send("") }
	}
	rsp, err := call()
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if cmd.Bool("include") {
		fmt.Fprintf(c.Stdout, "HTTP %s\n", rsp.Status)
		for _, k := range sortedKeys(rsp.Header) {
			fmt.Fprintf(c.Stdout, "%s: %s\n", k, strings.Join(rsp.Header[k], ", "))
		}
		fmt.Fprintln(c.Stdout)
	}
	return c.printAnswer(rsp)
}

func (c *commands) printAnswer(rsp *http.Response) error {
	isJSON := strings.HasPrefix(rsp.Header.Get("Content-Type"), "application/json")
	if !isJSON && rsp.StatusCode < http.StatusBadRequest {
		_, err := io.Copy(c.Stdout, rsp.Body)
		return err
	}
	b, err := io.ReadAll(io.LimitReader(rsp.Body, longestAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if rsp.StatusCode >= http.StatusBadRequest {
		return apiError(rsp, b)
	}
	var buf bytes.Buffer
	if json.Indent(&buf, b, "", "  ") != nil {
		buf.Reset()
		buf.Write(b)
	}
	if s := bytes.TrimSpace(buf.Bytes()); len(s) > 0 {
		_, err = fmt.Fprintf(c.Stdout, "%s\n", s)
	}
	return err
}

func (c *commands) events() *cli.Command {
	return group("events", "watch what happens in the mesh (for admins)", &cli.Command{
		Name: "tail", Usage: "print events as they happen, decoded by the schemas that travel with them", ArgsUsage: "[TOPIC…]",
		Description: "Topics: accounts, instances, routes, and those of your own services. All where none is named.\n\n   micro events tail instances\n   micro events tail --since 1h --json",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "since", Usage: "begin this `DURATION` ago, such as 10m"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Usage: "end after `N` events"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			q := url.Values{}
			if d := cmd.Duration("since"); d > 0 {
				q.Set("since", d.String())
			}
			if cmd.Args().Present() {
				q.Set("topics", strings.Join(cmd.Args().Slice(), ","))
			}
			return c.tail(ctx, cmd, api, "/gateway-svc/events?"+q.Encode())
		},
	}, c.eventsDead(), c.eventsReplay())
}

func (c *commands) tail(ctx context.Context, cmd *cli.Command, a *api, path string) error {
	a.client.Timeout = 0
	rsp, err := a.asCaller(ctx, func(token string) (*http.Response, error) { return a.roundTrip(ctx, http.MethodGet, path, token, nil) })
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(rsp.Body, longestAnswer))
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return apiError(rsp, b)
	}
	lines := bufio.NewScanner(rsp.Body)
	lines.Buffer(nil, 16<<20)
	seen := 0
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if err := c.printEvent(cmd, data); err != nil {
			return err
		}
		if seen++; seen == cmd.Int("count") {
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errors.New("the stream of events ended: the mesh stopped, or the sign-in expired"), lines.Err())
}

func (c *commands) printEvent(cmd *cli.Command, data string) error {
	if cmd.Bool("json") {
		return c.say("%s", data)
	}
	var r events.Record
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	what := string(r.Data)
	if r.Problem != "" {
		what = "(" + r.Problem + ")"
	}
	return c.say("%s  %s  %s", r.Time, strings.TrimPrefix(r.Type, "micromesh."), what)
}

func (c *commands) healthcheck() *cli.Command {
	return &cli.Command{
		Name: "healthcheck", Usage: "exit with 0 if a mesh is ready, else with 7: for containers and scripts",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "wait", Usage: "wait up to this `DURATION` for it to become ready"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if _, err := args(cmd, 0, 0); err != nil {
				return err
			}
			api, err := c.api(cmd)
			if err != nil {
				return err
			}
			api.client.Timeout = 3 * time.Second
			deadline := time.Now().Add(cmd.Duration("wait"))
			for {
				var raw json.RawMessage
				err := api.send(ctx, http.MethodGet, "/readyz", "", nil, &raw)
				if err == nil {
					return c.answer(cmd, raw, func() error { return c.say("ready") })
				}
				if !time.Now().Before(deadline) {
					return err
				}
				select {
				case <-time.After(100 * time.Millisecond):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		},
	}
}
