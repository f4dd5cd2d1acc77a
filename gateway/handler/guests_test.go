package handler_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	merrors "go-micro.dev/v5/errors"

	"micromesh/gateway/handler"
	"micromesh/gateway/http1"
	"micromesh/gateway/transcode"
	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	userpb "micromesh/user/proto"
)

// guests serves calls of guests of user-svc, which gives every call that error; none where it is nil.
func guests(t *testing.T, err error) (url string) {
	t.Helper()
	bindings, berr := transcode.New(userpb.File_user_v1_user_proto)
	if berr != nil {
		t.Fatal(berr)
	}
	var current atomic.Pointer[transcode.Bindings]
	current.Store(bindings)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	g := handler.New(handler.Config{
		Bindings: &current, RPC: rpc{err}, Verifier: auth.NewVerifier(&keys{}), Logger: log, Metrics: prometheus.NewRegistry(), MaxMessage: 1024,
	})
	return serve(t, http1.Config{Logger: log, Handler: &handler.Guests{Gateway: g}})
}

// call posts a message as go-micro's client does, with headers as "Name: value" beside or in place of what it sends.
func call(t *testing.T, method, url, body string, headers ...string) (rsp *http.Response, answer string, merr *merrors.Error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range append([]string{"Content-Type: application/json", "Micro-Service: user-svc", "Micro-Endpoint: UserService.GetPublicKey", "Micro-Id: 1", "Timeout: 30000000000"}, headers...) {
		name, value, _ := strings.Cut(h, ": ")
		if req.Header.Set(name, value); value == "" {
			req.Header.Del(name)
		}
	}
	if rsp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if e := rsp.Header.Get("Micro-Error"); e != "" {
		merr = merrors.Parse(e)
	}
	return rsp, string(b), merr
}

func TestGuestsErrorsComeAsGoMicroTellsThem(t *testing.T) {
	url := guests(t, errs.New(errs.Conflict, "TAKEN", "größer als \"groß\": 😀\nzu groß"))
	rsp, body, e := call(t, http.MethodPost, url+"/", "{}")
	if rsp.StatusCode != 200 || body != "" || e == nil {
		t.Fatalf("%s %q %v", rsp.Status, body, e)
	}
	if e.Id != "user-svc" || e.Code != 409 || e.Status != "Conflict" || e.Detail != "größer als \"groß\": 😀\nzu groß" {
		t.Errorf("the error is %+v", e)
	}
}

func TestGuestsWrongCallsAreRefused(t *testing.T) {
	url := guests(t, nil)
	if rsp, body, e := call(t, http.MethodPost, url+"/", "{}"); rsp.StatusCode != 200 || body != "{}" || e != nil || rsp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("a right one: %s %q %v", rsp.Status, body, e)
	}
	for _, grpc := range []string{"application/grpc", "application/grpc+json"} { // which a program with a gRPC server passes on
		if rsp, body, e := call(t, http.MethodPost, url+"/", "{}", "Content-Type: "+grpc); rsp.StatusCode != 200 || body != "{}" || e != nil || rsp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %q %v", grpc, rsp.Status, body, e)
		}
	}
	for _, row := range []struct {
		name, method, path, body string
		header                   string
		status                   int
		code                     int32 // of go-micro's error
	}{
		{"a browser's question", "OPTIONS", "/", "", "Origin: https://evil.example.com", 404, 0},
		{"the HTTP API", "GET", "/user-svc/public-key", "", "Accept: */*", 404, 0},
		{"no service", "POST", "/", "{}", "Micro-Service: ", 404, 0},
		{"no method", "POST", "/", "{}", "Micro-Endpoint: ", 404, 0},
		{"another path", "POST", "/x", "{}", "Accept: */*", 404, 0},
		{"too much", "POST", "/", `{"x":"` + strings.Repeat("x", 2000) + `"}`, "Accept: */*", 413, 0},
		{"an unknown method", "POST", "/", "{}", "Micro-Endpoint: UserService.Nope", 200, 404},
		{"an unknown service", "POST", "/", "{}", "Micro-Service: users", 200, 404},
		{"a page", "POST", "/", "{}", "Content-Type: text/html", 200, 415},
		{"a packed body", "POST", "/", "{}", "Content-Encoding: gzip", 200, 415},
		{"a list", "POST", "/", "[]", "Accept: */*", 200, 400},
		{"nobody, where a token is needed", "POST", "/", "{}", "Micro-Endpoint: UserService.ReadSelf", 200, 401},
	} {
		rsp, _, e := call(t, row.method, url+row.path, row.body, row.header)
		got := int32(0)
		if e != nil {
			got = e.Code
		}
		if rsp.StatusCode != row.status || got != row.code {
			t.Errorf("%s: %s, error %v; want %d and %d", row.name, rsp.Status, e, row.status, row.code)
		}
		if ct := rsp.Header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s: the answer is %s", row.name, ct)
		}
		if rsp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: pages of other origins may call", row.name)
		}
	}
}
