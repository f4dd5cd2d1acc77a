package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"micromesh/pkg/errs"
)

const (
	longestAnswer = 16 << 20
	apiVersion    = "2" // answers have all fields; unknown fields of requests are refused
)

// Call calls the mesh as this service: any path of the gateway. In is sent as JSON unless it is nil; the answer's JSON
// goes into out unless that is nil.
//
// Errors: *errs.Error as the mesh answers it (errs.Is tells the kind), Unavailable where no gateway answers.
func (s *Service) Call(ctx context.Context, method, path string, in, out any) error {
	tok, err := s.Token(ctx)
	if err != nil {
		return err
	}
	return s.send(ctx, method, path, tok, in, out)
}

// send makes one request with a token, which may be empty.
func (s *Service) send(ctx context.Context, method, path, token string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.cfg.ServerURL+path, body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Mesh-Api-Version", apiVersion)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := s.cfg.Client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errs.New(errs.Unavailable, "NO_MESH", "the mesh does not answer").Because(err) // which names the address
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(rsp.Body, longestAnswer))
	if err != nil {
		return errs.New(errs.Unavailable, "NO_MESH", "the answer broke off").Because(err)
	}
	if rsp.StatusCode >= http.StatusBadRequest {
		return answerError(rsp, b)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	return nil
}

func answerError(rsp *http.Response, body []byte) error {
	var w errs.Wire
	kind := errs.KindOf(rsp.StatusCode)
	if json.Unmarshal(body, &w) != nil || w.Error == "" {
		return errs.New(kind, "", "the mesh answered %s", rsp.Status)
	}
	e := errs.New(kind, w.Code, "%s", w.Error).With(w.Details...)
	if n, err := strconv.Atoi(rsp.Header.Get("Retry-After")); err == nil && n > 0 {
		e = e.After(time.Duration(n) * time.Second)
	}
	return e
}

// passing tells whether an error may be over by itself, and how long to wait at least before the next try.
func passing(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return 0, false
	}
	switch e.Kind {
	case errs.Unavailable, errs.Timeout, errs.TooMany, errs.Internal:
		return e.RetryAfter, true
	}
	return 0, false
}

// persist tries until f succeeds, fails for good, or ctx ends. It says once that it waits.
func (s *Service) persist(ctx context.Context, what string, f func() error) error {
	const slowest = 5 * time.Second
	delay := 50 * time.Millisecond
	for try := 0; ; try++ {
		err := f()
		wait, ok := passing(err)
		if err == nil || !ok {
			return err
		}
		if try == 0 {
			s.log.Warn("mesh_away", "doing", what, "error", err)
		}
		select {
		case <-time.After(max(delay, wait)):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
		delay = min(2*delay, slowest)
	}
}
