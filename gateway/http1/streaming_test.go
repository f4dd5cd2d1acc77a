package http1_test

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// TestBodies sends bodies of all framings and sizes around those of the buffers, to and fro.
func TestBodies(t *testing.T) {
	p := newProxy(t, to(echoing(t)), proxyConfig{})
	c := dial(t, p.addr)
	for _, size := range []int{0, 1, 3900, 4096, 5000, 32 << 10, 64 << 10, 64<<10 + 1, 200_000, 3 << 20} {
		body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		head := "POST / HTTP/1.1\r\nHost: a\r\n"
		for framing, request := range map[string]string{
			"length": head + "Content-Length: " + strconv.Itoa(size) + "\r\n\r\n" + body,
			"chunks": head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 10_000) + "0\r\n\r\n",
		} {
			var sending sync.WaitGroup
			sending.Go(func() { c.send(request) })
			a := c.answer()
			sending.Wait()
			if a.StatusCode != http.StatusOK || a.body != body {
				t.Fatalf("%d bytes by %s came as %d, %d bytes", size, framing, a.StatusCode, len(a.body))
			}
			if o := p.outcome(t); o.Result != http1.Answered {
				t.Errorf("outcome is %+v", o)
			}
		}
	}
}

// TestSmallBodyIsOneWrite checks that a small body goes out with the head, both ways, however it is framed.
func TestSmallBodyIsOneWrite(t *testing.T) {
	reads := make(chan string, 10)
	up := newUpstream(t, func(p *peer) {
		buf := make([]byte, 64<<10)
		for {
			n, err := p.Read(buf)
			if err != nil {
				return
			}
			reads <- string(buf[:n])
			p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	})
	p := newProxy(t, to(up), proxyConfig{})
	c := dial(t, p.addr)
	for _, body := range []string{
		"Content-Length: 3\r\n\r\nabc",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
	} {
		c.send("POST / HTTP/1.1\r\nHost: a\r\n" + body)
		_, want, _ := strings.Cut(body, "\r\n\r\n")
		if got := wait(t, "request", reads); !strings.HasSuffix(got, "\r\n\r\n"+want) {
			t.Errorf("the first read of the upstream is %q", got)
		}
		buf := make([]byte, 4096)
		n, err := c.r.Read(buf)
		if err != nil || !strings.HasSuffix(string(buf[:n]), "2\r\nok\r\n0\r\n\r\n") {
			t.Errorf("the first read of the client is %q, %v", buf[:n], err)
		}
	}
}

func TestRequestTrailers(t *testing.T) {
	got := make(chan string, 1)
	up := newUpstream(t, func(p *peer) {
		if _, err := p.head(); err != nil {
			return
		}
		var body strings.Builder
		for !strings.HasSuffix(body.String(), "\r\n0\r\n") {
			line, err := p.r.ReadString('\n')
			body.WriteString(line)
			if err != nil {
				return
			}
		}
		trailers, err := p.head()
		if err != nil {
			return
		}
		got <- trailers
		p.send(ok)
	})
	p := newProxy(t, to(up), proxyConfig{})
	for name, first := range map[string]string{"at once": "", "streamed": chunked(strings.Repeat("x", 99_990), 9999)} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, p.addr)
			c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + first + "1\r\na\r\n0\r\n" +
				"X-Sum: 1\r\nX-User-ID: 1\r\nx_roles: admin\r\nAuthorization: x\r\nContent-Length: 3\r\nHost: b\r\nMicro-Id: 4\r\n" +
				"Connection: close\r\nX-Two: 2\r\n\r\n")
			if trailers := wait(t, "trailers", got); trailers != "X-Sum: 1\r\nX-Two: 2\r\n\r\n" {
				t.Errorf("trailers are %q", trailers)
			}
			c.answer()
		})
	}
}

// TestServerSentEvents checks that each event arrives before the next one is made, in whatever framing.
func TestServerSentEvents(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	for name, row := range map[string]struct {
		head   string
		encode func(string) string
	}{
		"chunked":     {head + "Transfer-Encoding: chunked\r\n\r\n", func(s string) string { return chunked(s, 100) }},
		"until close": {head + "\r\n", func(s string) string { return s }},
		"length":      {head + "Content-Length: 1000000\r\n\r\n", func(s string) string { return s }},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan string)
			defer close(next)
			up := newUpstream(t, func(p *peer) {
				if _, err := p.head(); err != nil {
					return
				}
				p.send(row.head)
				for event := range next {
					p.send(row.encode(event))
				}
			})
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send(get)
			res, err := http.ReadResponse(c.r, nil) // the head arrives before there is a first event
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			defer c.Close() // before: else the body is read to its end
			body := bufio.NewReader(res.Body)
			for i := range 5 {
				event := "data: " + strconv.Itoa(i) + "\n"
				next <- event
				if got, err := body.ReadString('\n'); err != nil || got != event {
					t.Fatalf("event is %q, %v", got, err)
				}
			}
		})
	}
}

// TestBothWaysAtOnce checks that an answer can come while the request's body is still on its way.
func TestBothWaysAtOnce(t *testing.T) {
	p := newProxy(t, to(echoing(t)), proxyConfig{})
	c := dial(t, p.addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nping\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 3 {
		b := make([]byte, 4)
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "ping" {
			t.Fatalf("echo is %q, %v", b, err)
		}
		c.send("4\r\nping\r\n")
	}
	c.send("0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "ping" {
		t.Errorf("rest is %q, %v", rest, err)
	}
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
	if a := c.answer(); a.body != "ab" {
		t.Errorf("next answer is %q", a.body)
	}
}

// TestEarlyAnswer checks that an upstream which answers without reading the body has its answer delivered.
func TestEarlyAnswer(t *testing.T) {
	const refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
	for name, size := range map[string]int{"the rest is short": 200_000, "the rest is long": 10 << 20} {
		t.Run(name, func(t *testing.T) {
			up, _ := answering(t, refusal, false)
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("x", 70_000))
			if a := c.answer(); a.StatusCode != http.StatusForbidden || a.body != "no" {
				t.Fatalf("answer is %d %q", a.StatusCode, a.body)
			}
			if o := p.outcome(t); o.Result != http1.Answered || o.Status != 403 {
				t.Errorf("outcome is %+v", o)
			}
			if n := p.upstreams.Idle(); n != 0 {
				t.Errorf("%d connections are kept, with half a request on them", n)
			}
			if size > 1<<20 {
				c.closed()
				return
			}
			c.send(strings.Repeat("x", size-70_000) + get)
			if a := c.answer(); a.StatusCode != http.StatusForbidden {
				t.Errorf("next answer is %d", a.StatusCode)
			}
		})
	}
}

// TestBadBodies checks that a body which goes wrong is answered, and never looks complete to the upstream.
func TestBadBodies(t *testing.T) {
	long := chunked(strings.Repeat("x", 100_000), 10_000)
	for _, row := range []struct {
		name, body string
		status     int
		reaches    bool // the upstream
	}{
		{"first chunk is malformed", "0x3\r\nabc\r\n0\r\n\r\n", 400, false},
		{"later chunk is malformed", long + "0x3\r\nabc\r\n0\r\n\r\n", 400, true},
		{"trailer is malformed", long + "0\r\nX y\r\n\r\n", 400, true},
		{"over the limit at once", "fffff\r\n", 413, false},
		{"over the limit later", long + long + long + long, 413, true},
		{"too slow", long + "5\r\nab", 408, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			ended := make(chan string, 1)
			up := newUpstream(t, func(p *peer) {
				raw, _ := p.rest()
				ended <- raw
			})
			p := newProxy(t, to(up), proxyConfig{server: http1.Config{MaxBodyBytes: 300_000, BodyTimeout: 200 * time.Millisecond}})
			c := dial(t, p.addr)
			c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			c.send(row.body)
			if a := c.answer(); a.StatusCode != row.status || !a.Close {
				t.Errorf("answer is %d %q", a.StatusCode, a.body)
			}
			if o := p.outcome(t); o.Result != http1.BadRequest || o.Retryable {
				t.Errorf("outcome is %+v", o)
			}
			if !row.reaches {
				if n := up.conns.Load(); n != 0 {
					t.Errorf("%d connections reached the upstream", n)
				}
				return
			}
			if raw := wait(t, "end of the request", ended); strings.HasSuffix(raw, "0\r\n\r\n") {
				t.Error("the request looks complete to the upstream")
			}
		})
	}
}

// TestMalformedFirstChunkIsNotForwarded checks that an upstream hardly ever sees a request whose first chunk is malformed,
// even if that comes a little later than the head.
func TestMalformedFirstChunkIsNotForwarded(t *testing.T) {
	up := newUpstream(t, func(p *peer) { _, _ = p.rest() })
	p := newProxy(t, to(up), proxyConfig{})
	const tries = 10
	for range tries {
		c := dial(t, p.addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		time.Sleep(5 * time.Millisecond)
		c.send("0x3\r\nabc\r\n0\r\n\r\n")
		if a := c.answer(); a.StatusCode != http.StatusBadRequest {
			t.Errorf("answer is %d", a.StatusCode)
		}
	}
	if n := up.conns.Load(); n == tries {
		t.Errorf("all of %d requests reached the upstream", n)
	}
}

// TestChunkedSizes cuts a body at random places and checks that it arrives whole.
func TestChunkedSizes(t *testing.T) {
	p := newProxy(t, to(echoing(t)), proxyConfig{})
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var body, coded bytes.Buffer
		for range 1 + rnd.IntN(30) {
			part := strings.Repeat(string(rune('a'+rnd.IntN(26))), 1+rnd.IntN(9000))
			body.WriteString(part)
			coded.WriteString(chunked(part, 1+rnd.IntN(9000)))
		}
		coded.WriteString("0\r\n\r\n")
		c := dial(t, p.addr)
		var sending sync.WaitGroup
		sending.Go(func() {
			c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			for coded.Len() > 0 {
				c.send(string(coded.Next(1 + rnd.IntN(20_000))))
			}
		})
		a := c.answer()
		sending.Wait()
		if a.body != body.String() {
			t.Fatalf("%d bytes came as %d", body.Len(), len(a.body))
		}
	}
}

// TestLargeStream sends 100 MB through, both ways at once, and looks at the memory meanwhile.
func TestLargeStream(t *testing.T) {
	const size = 100 << 20
	p := newProxy(t, to(echoing(t)), proxyConfig{})
	for name, header := range map[string]string{"length": "Content-Length: " + strconv.Itoa(size), "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, p.addr)
			_ = c.SetDeadline(time.Now().Add(6 * patience))
			var sending sync.WaitGroup
			sending.Go(func() {
				block := strings.Repeat("x", 1<<20)
				if name == "chunked" {
					block = chunked(block, 1<<16)
				}
				c.send("POST / HTTP/1.1\r\nHost: a\r\n" + header + "\r\n\r\n")
				for range size >> 20 {
					c.send(block)
				}
				if name == "chunked" {
					c.send("0\r\n\r\n")
				}
			})
			defer sending.Wait()
			res, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var most runtime.MemStats
			n, buf := 0, make([]byte, 1<<20)
			for err == nil {
				var k int
				k, err = io.ReadFull(res.Body, buf)
				if n += k; n%(10<<20) == 0 {
					runtime.ReadMemStats(&most)
					if most.HeapAlloc > 64<<20 {
						t.Fatalf("the heap has %d bytes", most.HeapAlloc)
					}
				}
			}
			if n != size {
				t.Errorf("got %d bytes, %v", n, err)
			}
		})
	}
}

// TestContinueIsForwarded checks that a client which waits for 100 gets it before its body is streamed.
func TestContinueIsForwarded(t *testing.T) {
	p := newProxy(t, to(echoing(t)), proxyConfig{})
	for _, size := range []int{3, 100_000} {
		c := dial(t, p.addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(size) + "\r\nExpect: 100-continue\r\n\r\n")
		if head, err := c.head(); err != nil || head != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Fatalf("head is %q, %v", head, err)
		}
		c.send(strings.Repeat("x", size))
		if a := c.answer(); len(a.body) != size {
			t.Errorf("answer has %d bytes", len(a.body))
		}
	}
}

// TestForwardAfterReadBody checks that a body which the handler has looked at is forwarded all the same.
func TestForwardAfterReadBody(t *testing.T) {
	p := newProxy(t, to(echoing(t)), proxyConfig{before: func(x *http1.Exchange) {
		if body, err := x.ReadBody(1 << 20); err != nil || len(body) != 100_000 {
			t.Errorf("body has %d bytes, %v", len(body), err)
		}
	}})
	body := strings.Repeat("x", 100_000)
	c := dial(t, p.addr)
	for _, request := range []string{
		"Content-Length: 100000\r\n\r\n" + body, "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 999) + "0\r\n\r\n",
	} {
		c.send("POST / HTTP/1.1\r\nHost: a\r\n" + request)
		if a := c.answer(); a.body != body {
			t.Errorf("answer has %d bytes", len(a.body))
		}
	}
}
