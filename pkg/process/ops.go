package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"micromesh/pkg/errs"
	"micromesh/pkg/host"
)

// readyTimeout bounds what a question after readiness may take.
const readyTimeout = 2 * time.Second

// ops serves how the process is, for whoever runs it: /healthz while it lives, /readyz while it can do its work, /metrics.
type ops struct {
	srv *http.Server
	app atomic.Pointer[App] // nil until it is open
}

// listenOps serves on an address; on none where it is empty.
func listenOps(ctx context.Context, address string, h *host.Host) (*ops, error) {
	o := &ops{}
	if address == "" {
		return o, nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for health checks, MICRO_HEALTH_ADDRESS: %w", err)
	}
	h.Listens(ln.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "status", "healthy") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := o.check(r.Context()); err != nil {
			say(w, http.StatusServiceUnavailable, "error", err.Error())
			return
		}
		say(w, http.StatusOK, "status", "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.Metrics, promhttp.HandlerOpts{}))
	o.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := o.srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			h.Logger.Error("health_not_served", "error", err)
		}
	}()
	return o, nil
}

// ready lets /readyz ask the app.
func (o *ops) ready(app App) { o.app.Store(&app) }

func (o *ops) check(ctx context.Context) error {
	app := o.app.Load()
	if app == nil {
		return errors.New("the service is starting")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return (*app).Ready(ctx)
}

func (o *ops) close() {
	if o.srv != nil {
		_ = o.srv.Close() // nobody waits for an answer of a process that ends
	}
}

func say(w http.ResponseWriter, status int, key, value string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{key: value}) // fails where the caller has gone
}

// healthcheck asks a process on this machine whether it is ready.
func healthcheck(ctx context.Context, address string, out io.Writer) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout+time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errs.New(errs.Unavailable, "", "nothing answers on %s", address).Because(err)
	}
	defer rsp.Body.Close()
	var answer struct{ Status, Error string }
	if err := json.NewDecoder(io.LimitReader(rsp.Body, 64<<10)).Decode(&answer); err != nil {
		return fmt.Errorf("what answers on %s is no service of the mesh", address)
	}
	if rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", answer.Error)
	}
	fmt.Fprintln(out, answer.Status)
	return nil
}
