package existing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/internal/meshtest"
	"micromesh/pkg/porttest"
)

// tokenLife is short, so that programs use expired tokens all the time.
const tokenLife = 20 * time.Second

// program is one that behaves as programs for platforms of this kind do. Each has connections of its own, as a process has.
type program struct {
	t    *testing.T
	url  string
	http http.Client
}

func newProgram(t *testing.T, url string) *program {
	p := &program{t: t, url: url, http: http.Client{Transport: &http.Transport{}}}
	t.Cleanup(p.http.CloseIdleConnections)
	return p
}

// call makes a call, and decodes its answer. These programs try nothing twice: each refusal is a fault.
func (p *program) call(ctx context.Context, method, path, token string, in any, status int) map[string]any {
	b, err := json.Marshal(in)
	if err != nil {
		p.t.Error(err)
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(b))
	if err != nil {
		p.t.Error(err)
		return nil
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := p.http.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			p.t.Errorf("%s %s: %v", method, path, err)
		}
		return nil
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil || rsp.StatusCode != status {
		p.t.Errorf("%s %s: %d %s %v", method, path, rsp.StatusCode, body, err)
		return nil
	}
	var out map[string]any
	_ = json.Unmarshal(body, &out) // some answers have no body
	return out
}

func (p *program) login(ctx context.Context, slug string) string {
	out := p.call(ctx, "POST", "/user-svc/login", "", map[string]any{"appHost": "unnamed", "slug": slug, "password": "password-of-" + slug}, 200)
	token, _ := out["token"].(map[string]any)
	text, _ := token["token"].(string)
	return text
}

func (p *program) register(ctx context.Context, slug string) {
	p.call(ctx, "POST", "/user-svc/register", "", map[string]any{"appHost": "unnamed", "slug": slug, "password": "password-of-" + slug}, 200)
}

func (p *program) refresh(ctx context.Context, token string) string {
	out := p.call(ctx, "POST", "/user-svc/refresh-token", token, struct{}{}, 200)
	next, _ := out["token"].(map[string]any)
	text, _ := next["token"].(string)
	if text == "" && ctx.Err() == nil {
		p.t.Error("a refresh gives no token")
	}
	return text
}

// again calls f every so often, until ctx ends.
func again(ctx context.Context, every time.Duration, f func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		f()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sharing are processes that have one old token, which each refreshes in its own way. Some throw the new one away.
func sharing(ctx context.Context, t *testing.T, url string, wg *sync.WaitGroup) {
	newProgram(t, url).register(ctx, "shared-svc")
	old := newProgram(t, url).login(ctx, "shared-svc")
	for i := range 4 {
		p := newProgram(t, url)
		token := old
		wg.Go(func() {
			again(ctx, 2*time.Second, func() {
				next := token
				if i%2 == 0 {
					next = p.refresh(ctx, token)
				}
				p.call(ctx, "POST", "/user-svc/self", next, struct{}{}, 200)
				if i == 2 {
					token = next // the others go on with the old one
				}
			})
		})
	}
}

// replicas are processes of one account on one device, each with the token of its own sign-in.
func replicas(ctx context.Context, t *testing.T, url string, wg *sync.WaitGroup) {
	newProgram(t, url).register(ctx, "replicated-svc")
	for range 4 {
		p := newProgram(t, url)
		token := p.login(ctx, "replicated-svc")
		wg.Go(func() {
			again(ctx, 3*time.Second, func() { p.call(ctx, "POST", "/user-svc/self/has/replicated-svc:a:b", token, struct{}{}, 200) })
		})
	}
}

// together are twelve processes that start at the same moment, again and again: each signs in and registers an instance.
func together(ctx context.Context, t *testing.T, url string, wg *sync.WaitGroup) {
	programs := make([]*program, 12)
	for i := range programs {
		programs[i] = newProgram(t, url)
		newProgram(t, url).register(ctx, fmt.Sprintf("starting-%d", i))
	}
	wg.Go(func() {
		again(ctx, 15*time.Second, func() {
			var all sync.WaitGroup
			for i, p := range programs {
				all.Go(func() {
					token := p.login(ctx, fmt.Sprintf("starting-%d", i))
					if token != "" {
						p.call(ctx, "PUT", "/registry-svc/instance", token, map[string]any{"url": fmt.Sprintf("http://127.0.0.1:%d", i+1)}, 201)
					}
				})
			}
			all.Wait()
		})
	})
}

// away is a service that registers once, and is away for a while now and then. Requests reach it whenever it is there.
func away(ctx context.Context, t *testing.T, url string, wg *sync.WaitGroup, absence time.Duration) {
	newProgram(t, url).register(ctx, "once-svc")
	p := newProgram(t, url)
	serve := func(at string) (*http.Server, string) {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			t.Error(err)
			return nil, at
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"hello":"world"}`) }), ReadHeaderTimeout: time.Minute}
		go func() {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()
		return srv, ln.Addr().String()
	}
	srv, at := serve("127.0.0.1:0")
	p.call(ctx, "PUT", "/registry-svc/instance", p.login(ctx, "once-svc"), map[string]any{"url": "http://" + at}, 201)
	status := func() int {
		req, err := http.NewRequestWithContext(ctx, "GET", url+"/once-svc/hello", nil)
		if err != nil {
			return 0
		}
		rsp, err := p.http.Do(req)
		if err != nil {
			return 0
		}
		defer rsp.Body.Close()
		_, _ = io.Copy(io.Discard, rsp.Body)
		return rsp.StatusCode
	}
	until := func(what string, wanted ...int) {
		for began := time.Now(); ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			got := status()
			if strings.Contains(fmt.Sprint(wanted), fmt.Sprint(got)) || ctx.Err() != nil {
				return
			}
			if time.Since(began) > 15*time.Second {
				t.Errorf("%s: the service is answered with %d", what, got)
				return
			}
		}
	}
	wg.Go(func() {
		defer func() { _ = srv.Close() }()
		for ctx.Err() == nil {
			until("it is there", 200)
			_ = srv.Close()
			until("it is away", 502, 503)
			select {
			case <-time.After(absence):
			case <-ctx.Done():
			}
			if srv, _ = serve(at); srv == nil {
				return
			}
		}
	})
}

// start runs `micro up` as users do: the binary without the race detector, in which a sign-in takes many times as long. It returns the URL.
func start(t *testing.T) string {
	dir := t.TempDir()
	binary := filepath.Join(dir, "micro")
	run(t, nil, "go", "build", "-o", binary, "micromesh/cmd/micro")
	at := porttest.Free(t)
	up := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "up", "--data", filepath.Join(dir, "data"), "--listen", at, "--nats", "off")
	up.Env = append(os.Environ(), "MICRO_TOKEN_EXPIRATION="+tokenLife.String(), "MICRO_TOKEN_AUTO_REFRESH=true", "MICRO_ADMIN_PASSWORD="+meshtest.AdminPassword)
	up.Stderr = t.Output()
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = up.Process.Signal(os.Interrupt)
		_ = up.Wait()
	})
	url := "http://" + at
	meshtest.Eventually(t, "the mesh is ready", func() bool {
		rsp, err := http.Get(url + "/readyz")
		if err != nil {
			return false
		}
		_ = rsp.Body.Close()
		return rsp.StatusCode == http.StatusOK
	})
	return url
}

// behave runs all of these programs beside each other for a while, without one refusal.
func behave(t *testing.T, d, absence time.Duration) {
	url := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var wg sync.WaitGroup
	sharing(ctx, t, url, &wg)
	replicas(ctx, t, url, &wg)
	together(ctx, t, url, &wg)
	away(ctx, t, url, &wg, absence)
	wg.Wait()
}

// TestProgramsBehaveAsTheyDo runs programs that were not written for this mesh, for two minutes.
func TestProgramsBehaveAsTheyDo(t *testing.T) {
	t.Parallel()
	behave(t, 2*time.Minute, time.Minute)
}
