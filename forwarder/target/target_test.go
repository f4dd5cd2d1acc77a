package target_test

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/forwarder/service"
	"micromesh/forwarder/target"
)

// answering is a server that answers each request in one way, and what it was sent last.
type answering struct {
	*httptest.Server
	request *http.Request
	body    string
}

func serve(t *testing.T, status int, header http.Header, body string) *answering {
	t.Helper()
	a := &answering{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.request = r
		var in io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			in = z
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Error(err)
		}
		a.body = string(b)
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(a.Close)
	return a
}

var two = [][]byte{[]byte(`{"a":1}`), []byte(`{"b":2}`)}

func config(url string) target.Config {
	return target.Config{URL: url, Timeout: 10 * time.Second, Gzip: true}
}

func TestRequests(t *testing.T) {
	s := serve(t, 200, nil, `{"code":200}`)
	cfg := config(s.URL + "/")
	cfg.User, cfg.Password = "service", "secret"
	if refused, err := target.NewMixpanel(cfg, "77").Send(t.Context(), two); err != nil || refused != nil {
		t.Fatal(refused, err)
	}
	user, password, _ := s.request.BasicAuth()
	got := []string{s.request.Method, s.request.URL.String(), s.request.Header.Get("Content-Type"), user, password, s.body}
	if diff := cmp.Diff([]string{"POST", "/import?project_id=77&strict=1", "application/json", "service", "secret", `[{"a":1},{"b":2}]`}, got); diff != "" {
		t.Errorf("mixpanel: %s", diff)
	}
	cfg = config(s.URL + "/in?x=1")
	cfg.Bearer, cfg.Gzip = "bearer", false
	for _, r := range []struct {
		single bool
		batch  [][]byte
		kind   string
		body   string
	}{
		{false, two, "application/cloudevents-batch+json; charset=utf-8", `[{"a":1},{"b":2}]`},
		{false, two[:1], "application/cloudevents-batch+json; charset=utf-8", `[{"a":1}]`},
		{true, two[:1], "application/cloudevents+json; charset=utf-8", `{"a":1}`},
	} {
		if refused, err := target.NewCloudEvents(cfg, r.single).Send(t.Context(), r.batch); err != nil || refused != nil {
			t.Fatal(refused, err)
		}
		got := []string{s.request.URL.String(), s.request.Header.Get("Content-Type"), s.request.Header.Get("Authorization"), s.body}
		if diff := cmp.Diff([]string{"/in?x=1", r.kind, "Bearer bearer", r.body}, got); diff != "" {
			t.Errorf("cloudevents: %s", diff)
		}
	}
}

const failedRecords = `{"code":400,"error":"some data points in the request failed validation","failed_records":[{"index":1,"insert_id":"x","field":"properties.time","message":"is too old"}],"num_records_imported":1,"status":"Bad Request"}`

// TestAnswers has each status mean the right thing: only what is said of events refuses any.
func TestAnswers(t *testing.T) {
	for _, r := range []struct {
		name          string
		status        int
		body          string
		refused       map[int]string // by mixpanel
		reason        string
		split, splits bool // by mixpanel, by cloudevents
	}{
		{name: "strict mode", status: 400, body: failedRecords, refused: map[int]string{1: "properties.time: is too old"}, reason: service.ReasonInvalid, splits: true},
		{name: "a project that there isn't", status: 400, body: `{"code":400,"error":"no such project","status":"Bad Request"}`, reason: service.ReasonInvalid, splits: true},
		{name: "a page", status: 400, body: `<html>`, reason: service.ReasonInvalid, splits: true},
		{name: "a record that was not sent", status: 400, body: `{"failed_records":[{"index":2}]}`, reason: service.ReasonInvalid, splits: true},
		{name: "a record without a place", status: 400, body: `{"failed_records":[{"message":"x"}]}`, reason: service.ReasonInvalid, splits: true},
		{name: "a wrong secret", status: 401, reason: service.ReasonRefused},
		{name: "no right", status: 403, body: failedRecords, reason: service.ReasonRefused},
		{name: "a wrong URL", status: 404, reason: service.ReasonMissing},
		{name: "another page", status: 302, reason: service.ReasonMissing},
		{name: "too large", status: 413, reason: service.ReasonLarge, split: true, splits: true},
		{name: "unprocessable", status: 422, reason: service.ReasonInvalid, splits: true},
		{name: "busy", status: 429, reason: service.ReasonBusy},
		{name: "broken", status: 500, reason: service.ReasonBroken},
		{name: "away", status: 503, body: failedRecords, reason: service.ReasonBroken},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := serve(t, r.status, http.Header{"Retry-After": {"7"}, "Location": {"/elsewhere"}}, r.body)
			refused, err := target.NewMixpanel(config(s.URL), "").Send(t.Context(), two)
			if diff := cmp.Diff(r.refused, refused); diff != "" {
				t.Errorf("refused: %s", diff)
			}
			if r.refused == nil {
				checkFailure(t, err, r.reason, r.split)
			} else if err != nil {
				t.Error(err)
			}
			if refused, err = target.NewCloudEvents(config(s.URL), false).Send(t.Context(), two); refused != nil {
				t.Errorf("cloudevents: refused %v", refused)
			}
			checkFailure(t, err, r.reason, r.splits)
		})
	}
}

func checkFailure(t *testing.T, err error, reason string, split bool) {
	t.Helper()
	f, ok := errors.AsType[*service.TargetError](err)
	if !ok || f.Reason != reason || f.Split != split || f.After != 7*time.Second {
		t.Errorf("fails with %+v, not of %s", err, reason)
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	for header, fits := range map[string]func(time.Duration) bool{
		"":                              func(d time.Duration) bool { return d == 0 },
		"soon":                          func(d time.Duration) bool { return d == 0 },
		"-5":                            func(d time.Duration) bool { return d == 0 },
		"99999999999":                   func(d time.Duration) bool { return d == 10*time.Minute },
		"Fri, 01 Jan 2100 00:00:00 GMT": func(d time.Duration) bool { return d == 10*time.Minute },
		"Fri, 01 Jan 2010 00:00:00 GMT": func(d time.Duration) bool { return d == 0 },
	} {
		s := serve(t, 429, http.Header{"Retry-After": {header}}, "")
		_, err := target.NewMixpanel(config(s.URL), "").Send(t.Context(), two)
		if f, ok := errors.AsType[*service.TargetError](err); !ok || !fits(f.After) {
			t.Errorf("%q: %+v", header, err)
		}
	}
}

// TestNobodyAnswers has no secret in what is said of it.
func TestNobodyAnswers(t *testing.T) {
	s := serve(t, 200, nil, "")
	s.Close()
	cfg := config(s.URL)
	cfg.User, cfg.Password = "service", "secret-of-service"
	_, err := target.NewMixpanel(cfg, "project-id").Send(t.Context(), two)
	f, ok := errors.AsType[*service.TargetError](err)
	if !ok || f.Reason != service.ReasonUnreachable || f.Split {
		t.Fatalf("fails with %+v", err)
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "project-id") {
		t.Errorf("it says %s", err)
	}
}

// A dead letter says what the target has said of the event, and no log what it says of a login.
func TestWhatATargetSaysOfEventsIsTold(t *testing.T) {
	for status, want := range map[int]string{400: "the target answers 400 Bad Request: seven is no number", 401: "the target answers 401 Unauthorized"} {
		s := serve(t, status, nil, "seven is\nno number\xff")
		if _, err := target.NewCloudEvents(config(s.URL), false).Send(t.Context(), two); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%d: %v, want %s", status, err, want)
		}
	}
}
