package http1_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

func TestShutdown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, proceed := make(chan struct{}), make(chan struct{})
	srv := newServerOn(t, ln, http1.Config{}, func(x *http1.Exchange) {
		if string(x.Path()) == "/slow" {
			close(arrived)
			<-proceed
		}
		hello(x)
	})
	idle, unused, busy := dial(t, ln.Addr().String()), dial(t, ln.Addr().String()), dial(t, ln.Addr().String())
	idle.send(get)
	idle.answer()
	busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	wait(t, "request", arrived)
	eventually(t, "connections are open", func() bool { return srv.Stats().OpenConns == 3 })

	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(t.Context()) }()
	idle.closed()
	unused.closed()
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the listener still takes connections")
	}
	close(proceed)
	if a := busy.answer(); a.body != "hello" || !a.Close {
		t.Errorf("answer is %q, close is %t", a.body, a.Close)
	}
	if err := wait(t, "shutdown", done); err != nil {
		t.Error(err)
	}
}

// lateConn calls poked when Shutdown has woken its idle reader.
type lateConn struct {
	net.Conn
	poked func()
}

func (c lateConn) SetReadDeadline(t time.Time) error {
	err := c.Conn.SetReadDeadline(t)
	if !t.IsZero() && time.Since(t) > time.Hour {
		c.poked()
	}
	return err
}

type lateListener struct {
	net.Listener
	poked func()
}

func (l lateListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return lateConn{conn, l.poked}, err
}

// TestShutdownTakesALastLook checks that a request is answered which arrives just when its idle connection is to be closed.
func TestShutdownTakesALastLook(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	poked := make(chan struct{}, 1)
	var p *peer
	// Once: a reader that is just setting its own deadline sets the one that wakes it, too.
	srv := newServerOn(t, lateListener{inner, sync.OnceFunc(func() {
		p.send(get)
		poked <- struct{}{}
	})}, http1.Config{}, hello)
	p = dial(t, inner.Addr().String())
	p.send(get)
	p.answer()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait(t, "wake-up", poked)
	if a := p.answer(); a.body != "hello" || !a.Close {
		t.Errorf("answer is %q, close is %t", a.body, a.Close)
	}
	p.closed()
}

// TestShutdownGivesUp checks that what has not ended with the context is ended, and that its handler hears of it.
func TestShutdownGivesUp(t *testing.T) {
	arrived, cause := make(chan struct{}), make(chan error, 1)
	srv, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		ctx := x.Context()
		close(arrived)
		<-ctx.Done()
		cause <- ctx.Err()
	})
	p := dial(t, addr)
	p.send(get)
	wait(t, "request", arrived)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown gives %v", err)
	}
	if err := wait(t, "end of the context", cause); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended with %v", err)
	}
	p.closed()
}

// TestClientGone checks that a handler hears of a client that leaves while it waits for its answer.
func TestClientGone(t *testing.T) {
	for name, request := range map[string]string{
		"GET":              get,
		"POST with a body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			arrived, cause := make(chan struct{}), make(chan error, 1)
			_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
				if _, err := x.ReadBody(10); err != nil {
					t.Error(err)
				}
				ctx := x.Context()
				close(arrived)
				<-ctx.Done()
				cause <- context.Cause(ctx)
			})
			p := dial(t, addr)
			p.send(request)
			wait(t, "request", arrived)
			_ = p.Close()
			if err := wait(t, "end of the context", cause); !errors.Is(err, http1.ErrClientGone) {
				t.Errorf("context ended with %v", err)
			}
		})
	}
}

// TestWatchedConnectionGoesOn checks that a request which took long, so that its connection was watched, is followed by
// others as usual; also by one that came meanwhile.
func TestWatchedConnectionGoesOn(t *testing.T) {
	release := make(chan struct{})
	srv, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		if string(x.Path()) == "/slow" {
			<-release
		}
		x.Respond(http.StatusOK, "text/plain", x.Path())
	})
	watched := func() bool { return http1.Watched(srv) == 1 }
	p := dial(t, addr)
	const slow = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
	p.send(slow)
	eventually(t, "watched", watched)
	p.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n" + slow)
	release <- struct{}{}
	for _, want := range []string{"/slow", "/next"} {
		if a := p.answer(); a.body != want {
			t.Fatalf("answer is for %q, want %q", a.body, want)
		}
	}
	eventually(t, "watched again", watched)
	release <- struct{}{}
	if a := p.answer(); a.body != "/slow" {
		t.Errorf("answer is for %q", a.body)
	}
}
