package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"micromesh/gateway/http1"
)

// answerSize is the size of the upstream's answer.
const answerSize = 1 << 10

// serve serves in a role until ctx ends, after having printed its address.
func serve(ctx context.Context, role, upstream string, out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return err
	}
	switch role {
	case "upstream":
		body := bytes.Repeat([]byte("x"), answerSize)
		return serveHTTP1(ctx, ln, func(x *http1.Exchange) { x.Respond(http.StatusOK, "text/plain", body) })
	case "http1":
		return forward(ctx, ln, upstream)
	case "reverseproxy":
		return reverseProxy(ctx, ln, upstream)
	}
	return fmt.Errorf("there is no role %q", role)
}

func serveHTTP1(ctx context.Context, ln net.Listener, h http1.HandlerFunc) error {
	srv, err := http1.NewServer(http1.Config{Logger: slog.Default(), Handler: h})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Shutdown(ctx) })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http1.ErrServerClosed) {
		return err
	}
	return nil
}

// forward is the contender of this project.
func forward(ctx context.Context, ln net.Listener, upstream string) error {
	up := http1.NewUpstreams(http1.UpstreamsConfig{})
	defer up.Close()
	target := http1.Target{Address: upstream}
	return serveHTTP1(ctx, ln, func(x *http1.Exchange) {
		if o := up.Forward(x, target, http1.ForwardOptions{}); o.Result != http1.Answered {
			x.Fail(http.StatusBadGateway, "BAD_GATEWAY", o.Result.String())
		}
	})
}

// reverseProxy is net/http's, with what makes it faster than its defaults.
func reverseProxy(ctx context.Context, ln net.Listener, upstream string) error {
	buffers := pool{free: make(chan []byte, 256)}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: upstream})
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConns: 1024, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
		},
		BufferPool: buffers,
	}
	srv := &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// pool lends buffers to the reverse proxy.
type pool struct{ free chan []byte }

// Get lends a buffer.
func (p pool) Get() []byte {
	select {
	case b := <-p.free:
		return b
	default:
		return make([]byte, 32<<10)
	}
}

// Put takes it back.
func (p pool) Put(b []byte) {
	select {
	case p.free <- b:
	default:
	}
}
