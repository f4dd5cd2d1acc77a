package http1_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/gateway/http1"
)

// upstream is a server of raw bytes behind a proxy.
type upstream struct {
	addr  string
	conns atomic.Int64
}

// newUpstream starts an upstream that has serve talk on each connection, in a goroutine.
func newUpstream(t *testing.T, serve func(p *peer)) *upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{addr: ln.Addr().String()}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			u.conns.Add(1)
			running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				serve(newPeer(t, conn))
			})
		}
	})
	t.Cleanup(func() {
		stop()
		_ = ln.Close()
		running.Wait()
	})
	return u
}

// answering is an upstream that reads requests without a body, notes their heads, and answers each with the same bytes.
// The connection ends after one where end is true.
func answering(t *testing.T, raw string, end bool) (*upstream, <-chan string) {
	t.Helper()
	heads := make(chan string, 100)
	return newUpstream(t, func(p *peer) {
		for {
			head, err := p.head()
			if err != nil {
				return
			}
			heads <- head
			if _, err := io.WriteString(p, raw); err != nil || end {
				return
			}
		}
	}), heads
}

// echoing is an upstream that answers with the body that it was sent, framed in the same way, as it comes.
func echoing(t *testing.T) *upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		if n := r.Header.Get("Content-Length"); n != "" {
			w.Header().Set("Content-Length", n)
		}
		w.Header().Set("X-Method", r.Method)
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(buf)
			if _, werr := w.Write(buf[:n]); werr != nil || rc.Flush() != nil {
				return
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
	})
	return &upstream{addr: ln.Addr().String()}
}

// proxy forwards all requests to a target.
type proxy struct {
	server    *http1.Server
	upstreams *http1.Upstreams
	addr      string
	outcomes  chan http1.Outcome
}

// proxyConfig is what a test's proxy has that isn't a default.
type proxyConfig struct {
	server    http1.Config
	upstreams http1.UpstreamsConfig
	options   http1.ForwardOptions
	before    func(x *http1.Exchange)
	caller    func(x *http1.Exchange) string
}

func newProxy(t *testing.T, target http1.Target, cfg proxyConfig) *proxy {
	t.Helper()
	p := &proxy{outcomes: make(chan http1.Outcome, 1000)}
	p.upstreams = http1.NewUpstreams(cfg.upstreams)
	t.Cleanup(p.upstreams.Close)
	p.server, p.addr = newServer(t, cfg.server, func(x *http1.Exchange) {
		if cfg.before != nil {
			cfg.before(x)
		}
		options := cfg.options
		if cfg.caller != nil {
			options.Caller = cfg.caller(x)
		}
		o := p.upstreams.Forward(x, target, options)
		p.outcomes <- o
		switch o.Result {
		case http1.Answered, http1.Broken, http1.ClientGone:
		case http1.BadRequest:
			x.Refuse(o.Err)
		case http1.TimedOut:
			x.Fail(http.StatusGatewayTimeout, "TIMEOUT", o.Result.String())
		default:
			x.Fail(http.StatusBadGateway, "BAD_GATEWAY", o.Result.String())
		}
	})
	return p
}

// to is the target of an upstream.
func to(u *upstream) http1.Target { return http1.Target{Address: u.addr} }

// outcome gives the outcome of the next request that was forwarded.
func (p *proxy) outcome(t *testing.T) http1.Outcome {
	t.Helper()
	return wait(t, "outcome", p.outcomes)
}

// lines joins header lines, and ends the head.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }
