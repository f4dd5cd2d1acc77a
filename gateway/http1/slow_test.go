package http1_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// TestAThousandSlowClients has a thousand clients that begin a request and never end it, in one of two ways. All of them are
// closed in time, and others are served meanwhile.
func TestAThousandSlowClients(t *testing.T) {
	const limit = 2 * time.Second
	_, addr := newServer(t, http1.Config{HeaderTimeout: limit, BodyTimeout: limit, WriteTimeout: limit}, func(x *http1.Exchange) {
		if _, err := x.ReadBody(1 << 20); err != nil {
			x.Refuse(err)
			return
		}
		x.Respond(http.StatusOK, "text/plain", []byte("served"))
	})
	ways := []string{
		"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
	}
	var wg sync.WaitGroup
	for i := range 1000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, ways[i%len(ways)]); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Error(err)
			}
			// What comes is a refusal, or nothing; then the end.
			if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
				t.Errorf("client %d is still connected", i)
			}
		})
	}
	p := dial(t, addr)
	for range 20 {
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if a := p.answer(); a.body != "served" {
			t.Fatalf("meanwhile another got %q", a.body)
		}
	}
	wg.Wait()
}

// TestAThousandSlowReaders has a thousand clients ask for a large answer and read nothing of it, which is made here or comes
// from an upstream. All of them are closed in time, and others are served meanwhile.
func TestAThousandSlowReaders(t *testing.T) {
	const readers, limit = 1000, 2 * time.Second
	large := make([]byte, 8<<20)
	up := newUpstream(t, func(p *peer) {
		if _, err := p.head(); err == nil {
			_, _ = io.WriteString(p, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(large)))
			_, _ = p.Write(large) // until the proxy gives up
		}
	})
	upstreams := http1.NewUpstreams(http1.UpstreamsConfig{})
	t.Cleanup(upstreams.Close)
	var asked atomic.Int32
	ln := listenNarrow(t)
	addr := ln.Addr().String()
	srv := newServerOn(t, ln, http1.Config{WriteTimeout: limit}, func(x *http1.Exchange) {
		switch string(x.Path()) {
		case "/local":
			asked.Add(1)
			x.Respond(http.StatusOK, "text/plain", large)
		case "/forwarded":
			asked.Add(1)
			upstreams.Forward(x, to(up), http1.ForwardOptions{})
		default:
			hello(x)
		}
	})
	clients := make([]net.Conn, readers)
	for i := range clients {
		path := []string{"/local", "/forwarded"}[i%2]
		clients[i] = dialNarrow(t, addr)
		if _, err := io.WriteString(clients[i], "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			p := dial(t, addr)
			p.send(get)
			if a := p.answer(); a.body != "hello" {
				t.Fatalf("meanwhile another got %q", a.body)
			}
			_ = p.Close()
		}
	}
	eventually(t, "all of them are thrown out", func() bool {
		return asked.Load() == readers && srv.Stats().OpenConns == 0
	})
	for i, c := range clients {
		if n, err := io.Copy(io.Discard, c); err == nil || isTimeout(err) || n >= int64(len(large)) {
			t.Errorf("client %d then reads %d bytes, %v", i, n, err)
		}
	}
}

// TestBoundedStreamWaitsForItsReader counts what a stream takes for a client that reads nothing, until it is thrown out.
func TestBoundedStreamWaitsForItsReader(t *testing.T) {
	const bound = 64 << 10
	took := make(chan int, 1)
	_, addr := newServer(t, http1.Config{WriteTimeout: time.Second}, func(x *http1.Exchange) {
		s, n := x.Stream(http.StatusOK, "text/event-stream", -1), 0
		s.Bound(bound)
		for chunk := make([]byte, 1<<10); ; n += len(chunk) {
			if _, err := s.Write(chunk); err != nil || s.Flush() != nil {
				break
			}
		}
		took <- n
	})
	if _, err := io.WriteString(dialNarrow(t, addr), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n := wait(t, "the client is thrown out", took); n < bound/4 || n > 8*bound { // systems take it for advice
		t.Errorf("%d bytes were taken for a client that reads nothing, want about %d", n, bound)
	}
}

// narrow is how much the system buffers of what is not read, on each side; by default that is megabytes.
const narrow = 16 << 10

func dialNarrow(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := errors.Join(c.(*net.TCPConn).SetReadBuffer(narrow), c.SetReadDeadline(time.Now().Add(3*patience))); err != nil {
		t.Fatal(err)
	}
	return c
}

type narrowListener struct{ net.Listener }

func listenNarrow(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return narrowListener{ln}
}

func (l narrowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(narrow)
	}
	return c, err
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // of the connection itself
	return ok && e.Timeout()
}
