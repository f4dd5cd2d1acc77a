package http1_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/http1"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

var upgrade = lines("GET /ws HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")

// frame is a masked text frame of WebSocket with "hello" in it.
const frame = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"

// switchAnd is an upstream that switches to WebSocket, and then does what then says.
func switchAnd(t *testing.T, then func(p *peer)) (*upstream, <-chan string) {
	t.Helper()
	heads := make(chan string, 10)
	return newUpstream(t, func(p *peer) {
		head, err := p.head()
		if err != nil {
			return
		}
		heads <- head
		p.send(switching)
		then(p)
	}), heads
}

// echo sends back what comes, until its end, and then says so.
func echo(p *peer) { _, _ = io.Copy(p.Conn, p.r) }

// open opens a WebSocket through the proxy.
func open(t *testing.T, p *proxy) *peer {
	t.Helper()
	c := dial(t, p.addr)
	c.send(upgrade)
	head, err := c.head()
	if err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("head is %q, %v", head, err)
	}
	return c
}

func TestWebSocket(t *testing.T) {
	up, heads := switchAnd(t, echo)
	p := newProxy(t, to(up), proxyConfig{})
	c := dial(t, p.addr)
	c.send(upgrade + frame) // the first frame may come with the request
	want := lines("HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
		"Connection: Upgrade", "Upgrade: websocket")
	if head, err := c.head(); err != nil || head != want {
		t.Fatalf("head is %q, %v", head, err)
	}
	wantRequest := lines("GET /ws HTTP/1.1", "Host: a", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Version: 13", "Via: 1.1 micromesh", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: a", "X-Forwarded-Proto: http",
		"Connection: Upgrade", "Upgrade: websocket")
	if diff := cmp.Diff(wantRequest, wait(t, "request", heads)); diff != "" {
		t.Errorf("forwarded request (-want +got):\n%s", diff)
	}
	if got := c.read(len(frame)); got != frame {
		t.Errorf("echo is %q", got)
	}
	large := strings.Repeat(frame, 100_000)
	go c.send(large)
	if got := c.read(len(large)); got != large {
		t.Error("echo is not what was sent")
	}
	_ = c.Close()
	if o := p.outcome(t); o.Result != http1.Answered || o.Status != 101 {
		t.Errorf("outcome is %+v", o)
	}
}

// TestHalfClose checks that a side which has said everything still hears the other.
func TestHalfClose(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		up, _ := switchAnd(t, func(p *peer) {
			said, _ := p.rest()
			p.send("you said " + said)
		})
		c := open(t, newProxy(t, to(up), proxyConfig{}))
		c.send("bye")
		if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := c.rest(); err != nil || got != "you said bye" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("upstream first", func(t *testing.T) {
		heard := make(chan string, 1)
		up, _ := switchAnd(t, func(p *peer) {
			p.send("bye")
			if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			rest, _ := p.rest()
			heard <- rest
		})
		c := open(t, newProxy(t, to(up), proxyConfig{}))
		if got, err := c.rest(); err != nil || got != "bye" {
			t.Errorf("got %q, %v", got, err)
		}
		c.send("bye, too")
		_ = c.Close()
		if got := wait(t, "last words", heard); got != "bye, too" {
			t.Errorf("the upstream heard %q", got)
		}
	})
}

// trickleFrames keeps a tunnel busy until it ends.
func trickleFrames(c *peer) {
	for {
		if _, err := io.WriteString(c, frame); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestTunnelEnds(t *testing.T) {
	t.Run("when it is idle", func(t *testing.T) {
		up, _ := switchAnd(t, echo)
		p := newProxy(t, to(up), proxyConfig{options: http1.ForwardOptions{TunnelTimeout: 200 * time.Millisecond}})
		c := open(t, p)
		for range 10 { // longer than the timeout, but never idle
			c.send(frame)
			c.read(len(frame))
			time.Sleep(40 * time.Millisecond)
		}
		c.closed()
	})
	t.Run("when it may not stay", func(t *testing.T) {
		up, _ := switchAnd(t, echo)
		var may atomic.Bool
		may.Store(true)
		p := newProxy(t, to(up), proxyConfig{options: http1.ForwardOptions{TunnelTimeout: 400 * time.Millisecond, KeepTunnel: may.Load}})
		c := open(t, p)
		for range 10 {
			c.send(frame)
			c.read(len(frame))
			time.Sleep(20 * time.Millisecond)
		}
		may.Store(false)
		start := time.Now()
		go trickleFrames(c)
		if _, err := c.rest(); time.Since(start) > patience/2 {
			t.Errorf("it stays, %v", err)
		}
	})
	t.Run("when it may not stay, and the upstream has said everything", func(t *testing.T) {
		up, _ := switchAnd(t, func(p *peer) {
			if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			_, _ = p.rest()
		})
		var may atomic.Bool
		may.Store(true)
		p := newProxy(t, to(up), proxyConfig{
			upstreams: http1.UpstreamsConfig{TunnelCheck: 50 * time.Millisecond}, options: http1.ForwardOptions{KeepTunnel: may.Load},
		})
		c := open(t, p)
		c.closed() // in the one direction
		may.Store(false)
		trickleFrames(c)
		if o := p.outcome(t); o.Status != 101 {
			t.Errorf("outcome is %+v", o)
		}
	})
	t.Run("when the server is shut down", func(t *testing.T) {
		left := make(chan struct{})
		up, _ := switchAnd(t, func(p *peer) {
			echo(p)
			close(left)
		})
		p := newProxy(t, to(up), proxyConfig{})
		c := open(t, p)
		c.send(frame)
		c.read(len(frame))
		if err := p.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		c.closed()
		wait(t, "end at the upstream", left)
	})
	t.Run("when the upstream breaks", func(t *testing.T) {
		up, _ := switchAnd(t, func(p *peer) { _ = p.Close() })
		c := open(t, newProxy(t, to(up), proxyConfig{}))
		if got, err := c.rest(); got != "" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestNoTunnel has requests that ask for a switch, and must not get one.
func TestNoTunnel(t *testing.T) {
	t.Run("the upstream refuses", func(t *testing.T) {
		up, _ := answering(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", false)
		c := dial(t, newProxy(t, to(up), proxyConfig{}).addr)
		for range 2 {
			c.send(upgrade)
			if a := c.answer(); a.StatusCode != http.StatusForbidden || a.body != "no" {
				t.Errorf("answer is %d %q", a.StatusCode, a.body)
			}
		}
	})
	t.Run("another protocol than was asked for", func(t *testing.T) {
		up, _ := answering(t, strings.Replace(switching, "websocket", "h2c", 1), true)
		c := dial(t, newProxy(t, to(up), proxyConfig{}).addr)
		c.send(upgrade)
		if a := c.answer(); a.StatusCode != http.StatusBadGateway {
			t.Errorf("answer is %d", a.StatusCode)
		}
	})
	for name, request := range map[string]string{
		"h2c":                  strings.Replace(upgrade, "websocket", "h2c", 1),
		"several protocols":    strings.Replace(upgrade, "websocket", "websocket, h2c", 1),
		"a body":               strings.Replace(upgrade, "\r\n\r\n", "\r\nContent-Length: 3\r\n\r\nabc", 1),
		"HTTP/1.0":             strings.Replace(upgrade, "HTTP/1.1", "HTTP/1.0", 1),
		"no Connection option": strings.Replace(upgrade, "keep-alive, Upgrade", "keep-alive", 1),
	} {
		t.Run(name, func(t *testing.T) {
			up, heads := answering(t, ok, true)
			c := dial(t, newProxy(t, to(up), proxyConfig{}).addr)
			c.send(request)
			if a := c.answer(); a.StatusCode != http.StatusOK {
				t.Errorf("answer is %d", a.StatusCode)
			}
			if head := wait(t, "request", heads); strings.Contains(strings.ToLower(head), "upgrade:") {
				t.Errorf("the upstream got %q", head)
			}
		})
	}
}
