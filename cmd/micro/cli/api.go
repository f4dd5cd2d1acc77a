package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"micromesh/pkg/errs"
)

// errUnreachable says that no gateway answers.
var errUnreachable = errors.New("no mesh answers")

const (
	longestAnswer     = 64 << 20
	apiVersion        = "2" // of the HTTP API: answers have all fields; unknown fields of requests are refused
	completionTimeout = 2 * time.Second
	refreshEarly      = 30 * time.Second // before a token expires
)

// api speaks to one mesh as one caller.
type api struct {
	base   string
	name   string // of the environment
	token  string // of --token; else the environment's
	env    *environment
	cfg    *settingsFile
	client *http.Client
}

func (c *commands) api(cmd *cli.Command) (*api, error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return nil, err
	}
	name, env, err := cfg.pick(cmd)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(env.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usagef("the server is %q; it must be a URL such as %s", env.URL, defaultServer)
	}
	return &api{base: strings.TrimSuffix(env.URL, "/"), name: name, token: cmd.String("token"), env: env, cfg: cfg, client: &http.Client{Timeout: time.Minute}}, nil
}

// bearer gives the token to call with, refreshed where it is about to expire.
func (a *api) bearer(ctx context.Context) string {
	if a.token != "" || a.env.Token == "" {
		return a.token
	}
	if !a.env.fresh() {
		_ = a.refresh(ctx, a.env.fresh) // the token says itself what is wrong, where it could not be refreshed
	}
	return a.env.Token
}

// refresh gets the next token of the stored sign-in, unless done reports that another command was first.
func (a *api) refresh(ctx context.Context, done func() bool) error {
	return a.update(func() error {
		if done() {
			return nil
		}
		var out struct{ Token signIn }
		err := a.send(ctx, http.MethodPost, "/user-svc/refresh-token", a.env.RefreshToken, nil, &out)
		if err == nil && out.Token.Token != "" {
			a.env.keep(out.Token)
		}
		return err
	})
}

// asCaller sends a request with the caller's token. If the mesh refuses the token of the stored sign-in, asCaller refreshes it and sends the
// request once more. A token of --token is the caller's own business.
func (a *api) asCaller(ctx context.Context, send func(token string) (*http.Response, error)) (*http.Response, error) {
	token := a.bearer(ctx)
	rsp, err := send(token)
	if err != nil || rsp.StatusCode != http.StatusUnauthorized || token == "" || a.token != "" || a.env.RefreshToken == "" {
		return rsp, err
	}
	b, err := io.ReadAll(io.LimitReader(rsp.Body, longestAnswer))
	if err = errors.Join(err, rsp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	rsp.Body = io.NopCloser(bytes.NewReader(b))
	if !slices.Contains(refusedTokens, errs.From(apiError(rsp, b)).Code) {
		return rsp, nil
	}
	if err := a.refresh(ctx, func() bool { return a.env.Token != token }); err != nil {
		return rsp, nil //nolint:nilerr // the answer says what is wrong with the sign-in
	}
	return send(a.env.Token)
}

// refusedTokens are the codes of 401 that a new token of the same session may remedy.
var refusedTokens = []string{"INVALID_TOKEN", "TOKEN_EXPIRED", "TOKEN_REVOKED"}

// fresh reports whether the token need not, or cannot, be refreshed.
func (e *environment) fresh() bool {
	expires, err := time.Parse(time.RFC3339, e.ExpiresAt)
	return err != nil || time.Until(expires) > refreshEarly || e.RefreshToken == ""
}

// update changes the environment as the file of sign-ins has it now, and saves the file. Other commands wait meanwhile, so that none
// undoes what another one has saved.
func (a *api) update(change func() error) error {
	return a.cfg.locked(func(now *settingsFile) error {
		if e := now.Environments[a.name]; e != nil {
			*a.env = *e
		}
		err := change()
		now.Environments[a.name] = a.env
		return errors.Join(err, now.save())
	})
}

// signIn is what the API answers of a token.
type signIn struct {
	ID, Token, RefreshToken, ExpiresAt, UserID, Device string
}

// keep takes up a sign-in. One without a refresh token belongs to the same session: the refresh token stays.
func (e *environment) keep(t signIn) {
	e.Token, e.ExpiresAt = t.Token, t.ExpiresAt
	if t.RefreshToken != "" {
		e.RefreshToken = t.RefreshToken
	}
}

// keep stores a sign-in.
func (a *api) keep(t signIn) {
	_ = a.update(func() error { // the token is good for this command in any case
		a.env.keep(t)
		return nil
	})
}

// do calls the API as the caller. In is marshalled unless it is nil; out may be nil.
func (a *api) do(ctx context.Context, method, path string, in, out any) error {
	return a.call(method, path, in, out, func(body []byte) (*http.Response, error) {
		return a.asCaller(ctx, func(token string) (*http.Response, error) { return a.roundTrip(ctx, method, path, token, body) })
	})
}

// send calls the API with a token, or with none.
func (a *api) send(ctx context.Context, method, path, token string, in, out any) error {
	return a.call(method, path, in, out, func(body []byte) (*http.Response, error) { return a.roundTrip(ctx, method, path, token, body) })
}

func (a *api) call(method, path string, in, out any, send func(body []byte) (*http.Response, error)) error {
	var body []byte
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = b
	}
	rsp, err := send(body)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, longestAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if rsp.StatusCode >= http.StatusBadRequest {
		return apiError(rsp, b)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = b
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read answer of %s %s: it is not what the API promises: %w", method, path, err)
	}
	return nil
}

func (a *api) roundTrip(ctx context.Context, method, path, token string, body []byte) (*http.Response, error) {
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, in)
	if err != nil {
		return nil, usagef("%s is no path", path)
	}
	speak(req)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := a.client.Do(req)
	if err != nil {
		return nil, a.unreachable(err)
	}
	return rsp, nil
}

// speak names the version of the API that the CLI speaks. A registration by hand names none: an instance of version 2 must register again
// within each lease.
func speak(req *http.Request) {
	if req.Method != http.MethodPut || req.URL.Path != "/registry-svc/instance" {
		req.Header.Set("Mesh-Api-Version", apiVersion)
	}
}

func (a *api) unreachable(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w at %s: start one with `micro up`, or name another with --server", errUnreachable, a.base)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w at %s: %w", errUnreachable, a.base, err)
}

// apiError reads the API's error shape; what has another is told by its status.
func apiError(rsp *http.Response, body []byte) error {
	var w errs.Wire
	kind := errs.KindOf(rsp.StatusCode)
	if err := json.Unmarshal(body, &w); err != nil || w.Error == "" {
		return errs.New(kind, "", "the server answered %s", rsp.Status)
	}
	e := errs.New(kind, w.Code, "%s", w.Error).With(w.Details...)
	if after := rsp.Header.Get("Retry-After"); after != "" {
		e.Message += " (try again in " + after + " s)"
	}
	return e
}
