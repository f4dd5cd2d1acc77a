// Package target sends events to analytics services over HTTP.
package target

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"micromesh/forwarder/service"
)

const (
	maxAnswer = 4 << 20          // bytes of an answer that are read: two thousand failed records fit
	maxSaid   = 300              // and of them in an error
	maxAfter  = 10 * time.Minute // that a target may ask to be left alone for
)

// Config of a target. URL and Timeout must be set.
type Config struct {
	URL            string // without a login
	User, Password string // of basic authentication; none where both are empty
	Bearer         string // token
	Gzip           bool
	Timeout        time.Duration // for the whole answer of a request
}

// poster posts bodies.
type poster struct {
	cfg    Config
	client *http.Client
}

func newPoster(cfg Config) poster {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // nobody replaces it
	return poster{cfg, &http.Client{
		Transport: transport, Timeout: cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a GET of another page takes no events
	}}
}

// answer is what a request was answered with.
type answer struct {
	status int
	after  string // Retry-After
	body   []byte
}

// post posts a body. Errors: *service.TargetError, where there was no whole answer.
func (p poster) post(ctx context.Context, contentType string, body []byte) (answer, error) {
	if p.cfg.Gzip {
		body = zipped(body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return answer{}, unreachable(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "micromesh-forwarder")
	if p.cfg.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	switch {
	case p.cfg.User != "" || p.cfg.Password != "":
		req.SetBasicAuth(p.cfg.User, p.cfg.Password)
	case p.cfg.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+p.cfg.Bearer)
	}
	rsp, err := p.client.Do(req)
	if err != nil {
		return answer{}, unreachable(err)
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(rsp.Body, maxAnswer))
	if err != nil {
		return answer{}, unreachable(err)
	}
	return answer{rsp.StatusCode, rsp.Header.Get("Retry-After"), text}, nil
}

// unreachable leaves the URL out of what the log says: its query may name a project.
func unreachable(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &service.TargetError{Reason: service.ReasonUnreachable, Cause: err}
}

func zipped(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// failure says what a status means, other than of success. A login that is wrong, or a URL, says nothing about events: none of
// them is refused for it.
func failure(a answer) *service.TargetError {
	f := &service.TargetError{
		Reason: service.ReasonBroken, After: after(a.after, time.Now()), Cause: fmt.Errorf("the target answers %d %s%s", a.status, http.StatusText(a.status), said(a)),
	}
	switch code := a.status; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		f.Reason = service.ReasonRefused
	case code == http.StatusTooManyRequests:
		f.Reason = service.ReasonBusy
	case code == http.StatusRequestEntityTooLarge:
		f.Reason, f.Split = service.ReasonLarge, true
	case code == http.StatusBadRequest || code == http.StatusUnprocessableEntity:
		f.Reason = service.ReasonInvalid
	case code < 500:
		f.Reason = service.ReasonMissing
	}
	return f
}

// said is the begin of what an answer says of events, on one line. What it says of a login is left out: it may repeat it.
func said(a answer) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(a.body[:min(len(a.body), maxSaid)]), "")), " ")
	if text == "" || !slices.Contains([]int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity}, a.status) {
		return ""
	}
	return ": " + text
}

// after reads a Retry-After (RFC 9110, 10.2.3): seconds, or a date.
func after(header string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.Atoi(header); err == nil {
		d = time.Duration(min(max(n, 0), int(maxAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxAfter)
}

// array makes one JSON array of values.
func array(values [][]byte) []byte {
	return append(append([]byte("["), bytes.Join(values, []byte(","))...), ']')
}
