package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/load"
	"micromesh/gateway/http1"
)

// play serves in a role until the parent lets it go.
func play(ctx context.Context, role, upstream string) error {
	switch role {
	case "upstream":
		return load.Upstream(ctx)
	case "http1":
		return forward(ctx, upstream)
	case "reverseproxy":
		return child.Listen(ctx, reverseProxy(upstream))
	}
	return fmt.Errorf("there is no role %q", role)
}

// forward is the contender of this project.
func forward(ctx context.Context, upstream string) error {
	up := http1.NewUpstreams(http1.UpstreamsConfig{})
	defer up.Close()
	target := http1.Target{Address: upstream}
	srv, err := http1.NewServer(http1.Config{Logger: slog.Default(), Handler: http1.HandlerFunc(func(x *http1.Exchange) {
		if o := up.Forward(x, target, http1.ForwardOptions{}); o.Result != http1.Answered {
			x.Fail(http.StatusBadGateway, "BAD_GATEWAY", o.Result.String())
		}
	})})
	if err != nil {
		return err
	}
	return child.Listen(ctx, srv)
}

// reverseProxy is net/http's, with what makes it faster than its defaults.
func reverseProxy(upstream string) *http.Server {
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
	return &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
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
