package http1_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// closedPort is an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"

// TestOutcomes has what may become of a request, and whether it may be sent again.
func TestOutcomes(t *testing.T) {
	long := "Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000)
	put := strings.Replace(post, "POST", "PUT", 1)
	closing := func(p *peer) { _, _ = p.head() }
	reading := func(p *peer) { _, _ = p.rest() }
	for _, row := range []struct {
		name, request string
		upstream      func(*peer) // nil: there is none
		result        http1.Result
		retryable     bool
	}{
		{"no connection, GET", get, nil, http1.ConnectFailed, true},
		{"no connection, POST", post, nil, http1.ConnectFailed, true},
		{"no connection, long POST", "POST / HTTP/1.1\r\nHost: a\r\n" + long, nil, http1.ConnectFailed, true},
		{"closed, GET", get, closing, http1.Closed, true},
		{"closed, PUT", put, closing, http1.Closed, true},
		{"closed, POST", post, closing, http1.Closed, false},
		{"closed, long PUT", "PUT / HTTP/1.1\r\nHost: a\r\n" + long, closing, http1.Closed, false},
		{"silent, GET", get, reading, http1.TimedOut, true},
		{"silent, POST", post, reading, http1.TimedOut, false},
		{"silent, long PUT", "PUT / HTTP/1.1\r\nHost: a\r\n" + long, reading, http1.TimedOut, false},
		{"slow head", get, func(p *peer) {
			_, _ = p.head()
			for {
				if _, err := io.WriteString(p, "HTTP/1.1 200 OK\r\nX: y"[:1]); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, http1.TimedOut, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			target := http1.Target{}
			if row.upstream == nil {
				target.Address = closedPort(t)
			} else {
				target.Address = newUpstream(t, row.upstream).addr
			}
			p := newProxy(t, target, proxyConfig{options: http1.ForwardOptions{HeaderTimeout: 200 * time.Millisecond}})
			c := dial(t, p.addr)
			c.send(row.request)
			if a := c.answer(); a.StatusCode < http.StatusBadGateway {
				t.Errorf("answer is %d", a.StatusCode)
			}
			o := p.outcome(t)
			if o.Result != row.result || o.Retryable != row.retryable || o.Err == nil {
				t.Errorf("outcome is %v, retryable %t, %v", o.Result, o.Retryable, o.Err)
			}
		})
	}
}

// TestRetryElsewhere checks that a request, body and all, can be forwarded again after a failure.
func TestRetryElsewhere(t *testing.T) {
	dead := http1.Target{Address: closedPort(t)}
	echo := to(echoing(t))
	upstreams := http1.NewUpstreams(http1.UpstreamsConfig{})
	t.Cleanup(upstreams.Close)
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		first := upstreams.Forward(x, dead, http1.ForwardOptions{})
		if first.Result != http1.ConnectFailed || !first.Retryable {
			t.Errorf("first outcome is %+v", first)
		}
		if o := upstreams.Forward(x, echo, http1.ForwardOptions{}); o.Result != http1.Answered {
			t.Errorf("second outcome is %+v", o)
		}
	})
	c := dial(t, addr)
	for _, size := range []int{3, 60_000, 1_000_000} {
		body := strings.Repeat("x", size)
		for _, raw := range []string{
			lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + chunked(body, 5000) + "0\r\n\r\n",
		} {
			go c.send(raw)
			if a := c.answer(); a.body != body {
				t.Errorf("%d bytes came as %d", size, len(a.body))
			}
		}
	}
}

// TestStaleConnection checks what becomes of a request on a pooled connection that the upstream closes meanwhile.
func TestStaleConnection(t *testing.T) {
	for _, row := range []struct {
		name, request string
		when          string // the upstream closes: "idle", or on the next request
		status        int
	}{
		{"GET, closed while idle", get, "idle", 200},
		{"POST, closed while idle", post, "idle", 200},
		{"GET, closed on the request", get, "request", 200},
		{"POST, closed on the request", post, "request", 502},
	} {
		t.Run(row.name, func(t *testing.T) {
			closing, closed := make(chan struct{}), make(chan struct{})
			first := make(chan struct{}, 1)
			first <- struct{}{}
			up := newUpstream(t, func(p *peer) {
				if _, err := p.head(); err != nil {
					return
				}
				p.send(ok)
				select {
				case <-first: // the first connection serves one request, the others all
				default:
					for {
						if _, err := p.head(); err != nil {
							return
						}
						p.send(ok)
					}
				}
				if row.when == "idle" {
					<-closing
					_ = p.Close()
					close(closed)
					return
				}
				_, _ = p.head()
			})
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send(get)
			c.answer()
			p.outcome(t)
			eventually(t, "the connection is kept", func() bool { return p.upstreams.Idle() == 1 })
			close(closing)
			if row.when == "idle" {
				wait(t, "close", closed)
			}
			c.send(row.request)
			if a := c.answer(); a.StatusCode != row.status {
				t.Errorf("answer is %d", a.StatusCode)
			}
			want := int64(2)
			if row.status != 200 {
				want = 1
			}
			if n := up.conns.Load(); n != want {
				t.Errorf("the upstream had %d connections, want %d", n, want)
			}
		})
	}
}

// TestConnectionsAreReused checks that requests in a row share a connection, and when they can't.
func TestConnectionsAreReused(t *testing.T) {
	for name, row := range map[string]struct {
		answer string
		end    bool
		conns  int64
	}{
		"keep-alive":          {ok, false, 1},
		"chunked":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, 1},
		"close is announced":  {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true, 5},
		"more than an answer": {ok + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, 5},
		"HTTP/1.0":            {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", true, 5},
	} {
		t.Run(name, func(t *testing.T) {
			up, _ := answering(t, row.answer, row.end)
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			for range 5 {
				c.send(get)
				if a := c.answer(); a.StatusCode != http.StatusOK {
					t.Fatalf("answer is %d", a.StatusCode)
				}
				p.outcome(t)
			}
			if n := up.conns.Load(); n != row.conns {
				t.Errorf("the upstream had %d connections, want %d", n, row.conns)
			}
		})
	}
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	release := make(chan struct{})
	up := newUpstream(t, func(p *peer) {
		for {
			if _, err := p.head(); err != nil {
				return
			}
			<-release
			p.send(ok)
		}
	})
	p := newProxy(t, to(up), proxyConfig{upstreams: http1.UpstreamsConfig{MaxIdle: 2, IdleTimeout: 100 * time.Millisecond}})
	clients := make([]*peer, 5)
	for i := range clients {
		clients[i] = dial(t, p.addr)
		clients[i].send(get)
	}
	eventually(t, "all are at the upstream", func() bool { return up.conns.Load() == 5 })
	close(release)
	for _, c := range clients {
		c.answer()
		p.outcome(t)
	}
	if n := p.upstreams.Idle(); n > 2 {
		t.Errorf("%d connections are kept", n)
	}
	eventually(t, "old ones are closed", func() bool { return p.upstreams.Idle() == 0 })
	clients[0].send(get)
	clients[0].answer()
	eventually(t, "the connection is kept", func() bool { return p.upstreams.Idle() == 1 })
	p.upstreams.Forget(up.addr)
	if n := p.upstreams.Idle(); n != 0 {
		t.Errorf("%d connections are kept after Forget", n)
	}
	p.upstreams.Close()
	clients[0].send(get)
	if a := clients[0].answer(); a.StatusCode != http.StatusBadGateway {
		t.Errorf("answer after Close is %d", a.StatusCode)
	}
}

// TestClientGoneWhileUpstreamIsSilent checks that a client which leaves takes its upstream connection with it, wherever
// the answer stands.
func TestClientGoneWhileUpstreamIsSilent(t *testing.T) {
	for name, row := range map[string]struct{ request, answer string }{
		"before the head":     {get, ""},
		"after a small body":  {post, ""},
		"after a large body":  {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), ""},
		"in the body":         {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 90_000), ""},
		"in the answer":       {get, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
		"in a chunked answer": {get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived, left := make(chan struct{}), make(chan struct{})
			up := newUpstream(t, func(p *peer) {
				_, _ = p.head()
				p.send(row.answer)
				close(arrived)
				_, _ = p.rest()
				close(left)
			})
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send(row.request)
			wait(t, "request", arrived)
			_ = c.Close()
			wait(t, "end of the upstream connection", left)
			if o := p.outcome(t); o.Result != http1.ClientGone || !errors.Is(o.Err, http1.ErrClientGone) || o.Retryable {
				t.Errorf("outcome is %+v", o)
			}
		})
	}
}

// TestAnswerStops checks that an answer of which nothing more comes is given up.
func TestAnswerStops(t *testing.T) {
	up := newUpstream(t, func(p *peer) {
		_, _ = p.head()
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		_, _ = p.rest()
	})
	p := newProxy(t, to(up), proxyConfig{options: http1.ForwardOptions{StreamTimeout: 100 * time.Millisecond}})
	c := dial(t, p.addr)
	c.send(get)
	if raw, err := c.rest(); err == nil && strings.HasSuffix(raw, "abc0123456") {
		t.Errorf("got %q", raw)
	}
	if o := p.outcome(t); o.Result != http1.Broken {
		t.Errorf("outcome is %+v", o)
	}
}

// TestBodyMustBeWhole checks that a request whose body was read bit by bit is not forwarded without it.
func TestBodyMustBeWhole(t *testing.T) {
	up, heads := answering(t, ok, false)
	p := newProxy(t, to(up), proxyConfig{before: func(x *http1.Exchange) { _, _ = x.Body().Read(make([]byte, 1)) }})
	c := dial(t, p.addr)
	c.send(post)
	if a := c.answer(); a.StatusCode == http.StatusOK || len(heads) > 0 {
		t.Errorf("answer is %d, the upstream got %d requests", a.StatusCode, len(heads))
	}
}
