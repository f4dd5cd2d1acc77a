package http1_test

import (
	"strings"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

const waiting = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"

// TestUpstreamsAreAskedForBodies forwards requests of clients that wait for 100 (Continue), to upstreams that answer in several ways.
func TestUpstreamsAreAskedForBodies(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, row := range map[string]struct {
		first  string // what the upstream sends before the body
		client string // the heads that the client receives before it sends the body
		least  time.Duration
	}{
		"wants it":            {"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", 0},
		"hints, and wants it": {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", 0},
		"says nothing":        {"", "HTTP/1.1 100 Continue\r\n\r\n", 900 * time.Millisecond},
		"begins to speak":     {"HTTP/1.1 1", "HTTP/1.1 100 Continue\r\n\r\n", 900 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, func(p *peer) {
				for {
					head, err := p.head()
					if err != nil {
						return
					}
					if !strings.Contains(head, "Expect: 100-continue\r\n") {
						t.Errorf("the upstream is sent %q", head)
					}
					p.send(row.first)
					if body := p.read(4); body != "body" {
						t.Errorf("the body is %q", body)
					}
					if row.first == "HTTP/1.1 1" {
						p.send("00 Continue\r\n\r\n")
					}
					p.send(answer)
				}
			})
			c := dial(t, newProxy(t, to(up), proxyConfig{}).addr)
			for range 2 { // the second over the same connections
				began := time.Now()
				c.send(waiting)
				if got := c.read(len(row.client)); got != row.client {
					t.Fatalf("the client receives %q", got)
				}
				if took := time.Since(began); took < row.least || took > row.least+3*time.Second {
					t.Errorf("after %v", took)
				}
				c.send("body")
				if a := c.answer(); a.StatusCode != 200 || a.body != "ok" {
					t.Errorf("the answer is %d %q", a.StatusCode, a.body)
				}
			}
		})
	}
}

// TestUpstreamsMayRefuseBodies has an upstream answer before the body. The client doesn't send it, and no connection is used again: what comes
// next on it could be the body or a request.
func TestUpstreamsMayRefuseBodies(t *testing.T) {
	for _, status := range []string{"403 Forbidden", "417 Expectation Failed", "200 OK"} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			ends := make(chan string, 4)
			up := newUpstream(t, func(p *peer) {
				if _, err := p.head(); err != nil {
					return
				}
				p.send("HTTP/1.1 " + status + "\r\nContent-Length: 2\r\n\r\nno")
				rest, _ := p.rest()
				ends <- rest
			})
			proxy := newProxy(t, to(up), proxyConfig{})
			for range 2 {
				c := dial(t, proxy.addr)
				c.send(waiting)
				a := c.answer()
				if !strings.HasPrefix(status, a.Status[:3]) || a.body != "no" || !a.Close {
					t.Errorf("the answer is %s %q, and closes the connection: %t", a.Status, a.body, a.Close)
				}
				c.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
				if rest := <-ends; rest != "" {
					t.Errorf("the upstream receives %q", rest)
				}
			}
		})
	}
}

// TestExpectationsThatAreMetAreNotForwarded has clients that don't wait, and one whose body is too large.
func TestExpectationsThatAreMetAreNotForwarded(t *testing.T) {
	up := newUpstream(t, func(p *peer) {
		for {
			head, err := p.head()
			if err != nil {
				return
			}
			if strings.Contains(head, "Expect") {
				t.Errorf("the upstream is sent %q", head)
			}
			p.read(4)
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	p := newProxy(t, to(up), proxyConfig{})
	for _, request := range []string{waiting + "body", strings.Replace(waiting, "HTTP/1.1", "HTTP/1.0", 1) + "body", strings.Replace(waiting, "Expect: 100-continue\r\n", "", 1) + "body"} {
		c := dial(t, p.addr)
		c.send(request)
		if a := c.answer(); a.StatusCode != 200 {
			t.Errorf("the answer is %d", a.StatusCode)
		}
	}
	c := dial(t, newProxy(t, to(up), proxyConfig{before: func(x *http1.Exchange) { x.SetBodyLimit(3) }}).addr)
	c.send(waiting)
	if a := c.answer(); a.StatusCode != 413 {
		t.Errorf("a body that is too large: %d", a.StatusCode)
	}
}
