package sdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"micromesh/internal/meshtest"
	sdk "micromesh/sdk/go"
)

// examples are run beside one mesh, which the first of them starts.
var examples exampleMesh

type exampleMesh struct {
	once sync.Once
	mesh *meshtest.Mesh
	dir  string
}

func (e *exampleMesh) start() {
	e.once.Do(func() {
		var err error
		if e.mesh, err = meshtest.Open(context.Background()); err != nil {
			panic(err)
		}
		if e.dir, err = os.MkdirTemp("", "examples-"); err != nil {
			panic(err)
		}
	})
}

func (e *exampleMesh) stop() {
	if e.mesh != nil {
		e.mesh.Stop()
		_ = os.RemoveAll(e.dir)
	}
}

// config is what a program beside `micro up` would say as sdk.Config{Slug: slug}.
func (e *exampleMesh) config(slug string) sdk.Config {
	e.start()
	return sdk.Config{Slug: slug, ServerURL: e.mesh.URL, Credentials: filepath.Join(e.dir, slug+".json"), Logger: slog.New(slog.DiscardHandler)}
}

// account registers one, and gives its token.
func (e *exampleMesh) account(slug string) string {
	e.start()
	_, body := e.ask(http.MethodPost, "/user-svc/register", "", `{"appHost":"unnamed","slug":"`+slug+`","name":"`+slug+`","password":"password-of-`+slug+`"}`)
	var out struct{ Token struct{ Token string } }
	if err := json.Unmarshal([]byte(body), &out); err != nil || out.Token.Token == "" {
		panic(body)
	}
	return out.Token.Token
}

// ask asks the gateway.
func (e *exampleMesh) ask(method, path, token, body string) (status int, answer string) {
	req, err := http.NewRequestWithContext(context.Background(), method, e.mesh.URL+path, bytes.NewReader([]byte(body)))
	if err != nil {
		panic(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		panic(err)
	}
	return rsp.StatusCode, strings.TrimSpace(string(b))
}

// get prints what the gateway answers, once it leads to the service.
func (e *exampleMesh) get(path, token string) {
	status, body := e.ask(http.MethodGet, path, token, "")
	for deadline := time.Now().Add(30 * time.Second); strings.Contains(body, "NO_INSTANCE") && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		status, body = e.ask(http.MethodGet, path, token, "")
	}
	var refused struct{ Code string }
	if json.Unmarshal([]byte(body), &refused) == nil && refused.Code != "" {
		body = refused.Code
	}
	fmt.Println(status, body)
}

// serve runs a service until what it gives is called.
func (e *exampleMesh) serve(svc *sdk.Service, h http.Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx, h) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			panic(err)
		}
	}
}
