package http1_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"micromesh/gateway/http1"
)

// script is all that an upstream sends because of one request.
type script struct {
	early   [][]byte // immediately, in these pieces
	late    []byte   // when the exchange is over, or waits for more
	end     bool     // closes the connection after that
	over    chan struct{}
	settled chan struct{} // what was sent has reached the gateway, or the connection is gone
	once    sync.Once
}

func newScript(early [][]byte, late []byte, end bool) *script {
	return &script{early: early, late: late, end: end, over: make(chan struct{}), settled: make(chan struct{})}
}

// stall is the time that a scripted upstream waits for the end of an exchange, which may be waiting for the upstream.
const stall = 5 * time.Millisecond

// play sends what the script says. It reports whether the connection goes on.
func (s *script) play(p *peer) bool {
	defer s.once.Do(func() { close(s.settled) })
	for _, piece := range s.early {
		if _, err := p.Write(piece); err != nil {
			return false
		}
	}
	select {
	case <-s.over:
	case <-time.After(stall):
	}
	_, err := p.Write(s.late)
	if err == nil && !s.end {
		select {
		case <-s.over:
		case <-time.After(stall):
			s.end = true // the answer is not complete
		}
	}
	delivered(p)
	return err == nil && !s.end
}

// delivered waits until the other end's system has all that was sent, or the connection has ended.
func delivered(p *peer) {
	conn := p.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		left, open := 0, true
		cerr := raw.Control(func(fd uintptr) {
			_, _, perr := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			open = errors.Is(perr, unix.EAGAIN)
			left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		})
		if cerr != nil || left == 0 || !open {
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// scripted is an upstream that answers /N as the script of that number says, over TCP or TLS.
type scripted struct {
	*upstream
	mu      sync.Mutex
	scripts map[string]*script
}

func newScripted(t *testing.T, cfg *tls.Config) *scripted {
	t.Helper()
	s := &scripted{scripts: map[string]*script{}}
	s.upstream = newUpstream(t, func(p *peer) {
		if cfg != nil {
			p = newPeer(t, tls.Server(p.Conn, cfg))
		}
		for {
			head, err := p.head()
			if err != nil {
				return
			}
			s.mu.Lock()
			script := s.scripts[strings.TrimPrefix(strings.Fields(head)[1], "/")]
			s.mu.Unlock()
			if script == nil || !script.play(p) {
				return
			}
		}
	})
	return s
}

// exchange has a client send a request for /n, which the script answers, and returns what the client got.
func (s *scripted) exchange(t *testing.T, c *peer, n int, method string, script *script) string {
	t.Helper()
	s.mu.Lock()
	s.scripts[strconv.Itoa(n)] = script
	s.mu.Unlock()
	c.send(method + " /" + strconv.Itoa(n) + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	got, _ := c.rest() // which may break off
	close(script.over)
	if strings.Contains(got, `"error"`) || got == "" {
		return got // it may not have reached the upstream
	}
	wait(t, "the upstream's bytes", script.settled)
	return got
}

// marked makes an answer of which every line and body names its exchange.
func marked(n int, status string, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nX-Of: <%d>\r\nContent-Length: %d\r\n\r\n%s", status, n, len(body), body)
}

// surpluses are answers that have more behind their end, where a reader may look for it.
func surpluses(n int) map[string]struct{ method, answer, surplus string } {
	tag := fmt.Sprintf("<%d>", n)
	next := marked(n, "200 OK", tag)
	fill := func(total int) string { // an answer of so many bytes
		for size := total; ; size-- {
			if a := marked(n, "200 OK", tag+strings.Repeat("x", max(size-len(tag), 0))); len(a) == total {
				return a
			}
		}
	}
	row := func(method, answer, surplus string) struct{ method, answer, surplus string } {
		return struct{ method, answer, surplus string }{method, answer, surplus}
	}
	chunkedHead := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Of: " + tag + "\r\n\r\n"
	return map[string]struct{ method, answer, surplus string }{
		"a second answer":             row("GET", next, next),
		"a body after HEAD":           row("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n", next),
		"a chunked body after HEAD":   row("HEAD", chunkedHead, "5\r\n"+tag+"xx\r\n0\r\n\r\n"),
		"a body after 204":            row("GET", "HTTP/1.1 204 No Content\r\n\r\n", next),
		"a body after 304":            row("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 90\r\n\r\n", next),
		"garbage":                     row("GET", next, tag),
		"an empty line":               row("GET", next, "\r\n"),
		"one byte":                    row("GET", next, "H"),
		"after an empty body":         row("GET", marked(n, "200 OK", ""), next),
		"after the last chunk":        row("GET", chunkedHead+"3\r\n"+tag[:3]+"\r\n0\r\n\r\n", next),
		"after a trailer":             row("GET", chunkedHead+"0\r\nX-A: b\r\n\r\n", next),
		"an interim answer":           row("GET", next, "HTTP/1.1 103 Early Hints\r\nX-Of: "+tag+"\r\n\r\n"),
		"after an interim answer":     row("GET", "HTTP/1.1 103 Early Hints\r\n\r\n"+next, next),
		"a full small buffer":         row("GET", fill(4<<10), next),
		"a full wide buffer":          row("GET", fill(32<<10), next),
		"a body of a full buffer":     row("GET", marked(n, "200 OK", strings.Repeat("x", 32<<10)), next),
		"a body of two full buffers":  row("GET", marked(n, "200 OK", strings.Repeat("x", 64<<10)), next),
		"an answer to another method": row("GET", next, "HTTP/1.1 204 No Content\r\nX-Of: "+tag+"\r\n\r\n"),
	}
}

// TestSurplusReachesNobody has an upstream send more than an answer, with the answer and after it, and checks that the next
// request, on a connection that may be the same, is answered by its own answer.
func TestSurplusReachesNobody(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	secure := &tls.Config{Certificates: srv.TLS.Certificates}
	for _, over := range []string{"TCP", "TLS"} {
		for name, row := range surpluses(1) {
			for _, when := range []string{"with the answer", "just after it", "later"} {
				t.Run(over+", "+name+", "+when, func(t *testing.T) {
					t.Parallel()
					var cfg *tls.Config
					if over == "TLS" {
						cfg = secure
					}
					up := newScripted(t, cfg)
					told := make(chan string, 10)
					p := newProxy(t, http1.Target{Address: up.addr, TLS: cfg != nil}, proxyConfig{upstreams: http1.UpstreamsConfig{
						TLS: &tls.Config{InsecureSkipVerify: true}, Surplus: func(address string) { told <- address },
					}})
					s := newScript([][]byte{[]byte(row.answer + row.surplus)}, nil, false)
					switch when {
					case "just after it":
						s = newScript([][]byte{[]byte(row.answer), []byte(row.surplus)}, nil, false)
					case "later":
						s = newScript([][]byte{[]byte(row.answer)}, []byte(row.surplus), false)
					}
					up.exchange(t, dial(t, p.addr), 1, row.method, s)
					for n := 2; n < 4; n++ {
						want := marked(n, "200 OK", "mine")
						got := up.exchange(t, dial(t, p.addr), n, "GET", newScript([][]byte{[]byte(want)}, nil, false))
						if !strings.Contains(got, "<"+strconv.Itoa(n)+">") || !strings.HasSuffix(got, "\r\n\r\nmine") || strings.Contains(got, "<1>") {
							t.Errorf("request %d got %q", n, got)
						}
					}
					if a := wait(t, "notice of the surplus", told); a != up.addr {
						t.Errorf("told of %s", a)
					}
					if p.upstreams.Idle() != 0 {
						t.Error("connections to an upstream that sends more than its answers are kept")
					}
				})
			}
		}
	}
}

// stream makes what an upstream might send for exchange n: good and broken answers, and pieces of them.
func stream(r *rand.Rand, n int) []byte {
	tag := fmt.Sprintf("<%d>", n)
	var b bytes.Buffer
	for range 1 + r.IntN(4) {
		switch r.IntN(9) {
		case 0, 1, 2:
			b.WriteString(marked(n, "200 OK", tag+strings.Repeat("y", r.IntN(10))))
		case 3:
			b.WriteString(marked(n, "200 OK", strings.Repeat(tag, r.IntN(3000))))
		case 4:
			b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(strings.Repeat(tag, r.IntN(50)), 7) + "0\r\n\r\n")
		case 5:
			b.WriteString("HTTP/1.1 " + []string{"103 Hm", "100 Continue", "101 Other", "204 No Content", "304 Not Modified"}[r.IntN(5)] + "\r\nX-Of: " + tag + "\r\n\r\n")
		case 6:
			b.WriteString(tag + []string{"", "\r\n", "\r\n\r\n", "\x00"}[r.IntN(4)])
		case 7:
			b.WriteString("HTTP/1.1 200 OK\r\nX-Of: " + tag + "\r\nContent-Length: " + strconv.Itoa(r.IntN(20)) + "\r\n\r\n" + tag)
		case 8:
			whole := marked(n, "200 OK", tag)
			b.WriteString(whole[:r.IntN(len(whole))])
		}
	}
	return b.Bytes()
}

// cut splits b into the pieces that are sent early, and what is sent late.
func cut(r *rand.Rand, b []byte) (early [][]byte, late []byte) {
	at := len(b)
	if r.IntN(2) == 0 {
		at = r.IntN(len(b) + 1)
	}
	for rest := b[:at]; len(rest) > 0; {
		n := 1 + r.IntN(len(rest))
		early, rest = append(early, rest[:n]), rest[n:]
	}
	return early, b[at:]
}

// TestNoByteReachesAnotherExchange has upstreams send any streams of bytes, and checks that each client gets no byte of another
// exchange.
func TestNoByteReachesAnotherExchange(t *testing.T) {
	tags := regexp.MustCompile(`<(\d+)>`)
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			up := newScripted(t, nil)
			p := newProxy(t, to(up.upstream), proxyConfig{})
			reused := 0
			for n := range 25 {
				b, end := []byte(marked(n, "200 OK", fmt.Sprintf("<%d>", n))), false
				if r.IntN(3) == 0 { // proper answers between make connections that are kept
					b, end = stream(r, n), r.IntN(4) == 0
				}
				early, late := cut(r, b)
				method := []string{"GET", "GET", "GET", "HEAD"}[r.IntN(4)]
				got := up.exchange(t, dial(t, p.addr), n, method, newScript(early, late, end))
				if p.outcome(t).Reused {
					reused++
				}
				for _, m := range tags.FindAllStringSubmatch(got, -1) {
					if m[1] != strconv.Itoa(n) {
						t.Errorf("exchange %d got bytes of exchange %s: %.300q", n, m[1], got)
					}
				}
				if n%4 == 3 {
					p.upstreams.Trust()
				}
			}
			t.Logf("%d of 25 were on connections that had served before", reused)
		})
	}
}

// FuzzUpstreamBytes has an upstream answer with any bytes, the first of them immediately and the others later. It checks that
// the next client gets its own answer whole.
func FuzzUpstreamBytes(f *testing.F) {
	f.Add([]byte(ok+ok), uint16(len(ok)), false)
	f.Add([]byte(ok+"HTTP/1.1 2"), uint16(len(ok)), false)
	f.Add([]byte("HTTP/1.1 204 No Content\r\n\r\nok"), uint16(40), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n"), uint16(50), true)
	f.Add([]byte("HTTP/1.1 103 Hm\r\n\r\n"+ok), uint16(3), false)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, head bool) {
		up := newScripted(t, nil)
		p := newProxy(t, to(up.upstream), proxyConfig{})
		early := b[:min(int(at), len(b))]
		method := map[bool]string{false: http.MethodGet, true: http.MethodHead}[head]
		up.exchange(t, dial(t, p.addr), 1, method, newScript([][]byte{early}, b[len(early):], false))
		c := dial(t, p.addr)
		want := newScript([][]byte{[]byte(marked(2, "200 OK", "mine"))}, nil, false)
		got := up.exchange(t, c, 2, http.MethodGet, want)
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.Contains(got, "X-Of: <2>\r\n") || !strings.HasSuffix(got, "\r\n\r\nmine") {
			t.Errorf("the second client got %q", got)
		}
	})
}

// holding is a connection that doesn't send the last hold bytes of each write.
type holding struct {
	net.Conn
	hold int
}

func (h *holding) Write(b []byte) (int, error) {
	if h.hold > 0 {
		_, err := h.Conn.Write(b[:len(b)-h.hold])
		return len(b), err
	}
	return h.Conn.Write(b)
}

// TestRecordsOfTLS checks what lies between a socket and its reader where there is TLS: a piece of a record makes a connection
// useless, a message to TLS itself does not.
func TestRecordsOfTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for _, row := range []struct {
		name  string
		late  func(conn *tls.Conn, h *holding) error
		conns int64
	}{
		{"nothing", func(*tls.Conn, *holding) error { return nil }, 1},
		{"a record", func(conn *tls.Conn, _ *holding) error { _, err := io.WriteString(conn, ok); return err }, 2},
		{"a piece of a record", func(conn *tls.Conn, h *holding) error {
			h.hold = 5
			_, err := io.WriteString(conn, ok)
			return err
		}, 2},
		{"a piece of a record's head", func(_ *tls.Conn, h *holding) error { _, err := h.Conn.Write([]byte{23, 3}); return err }, 2},
		{"the end", func(conn *tls.Conn, _ *holding) error { return conn.CloseWrite() }, 2},
		{"garbage", func(_ *tls.Conn, h *holding) error { _, err := io.WriteString(h.Conn, "hello there, all"); return err }, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			over, sent := make(chan struct{}), make(chan struct{})
			first := make(chan struct{}, 1)
			first <- struct{}{}
			up := newUpstream(t, func(p *peer) {
				h := &holding{Conn: p.Conn}
				conn := tls.Server(h, &tls.Config{Certificates: srv.TLS.Certificates})
				tp := newPeer(t, conn)
				for {
					if _, err := tp.head(); err != nil {
						return
					}
					tp.send(ok)
					select {
					case <-first:
						<-over
						if err := row.late(conn, h); err != nil {
							t.Error(err)
						}
						delivered(p)
						close(sent)
					default:
					}
				}
			})
			cfg := proxyConfig{upstreams: http1.UpstreamsConfig{TLS: &tls.Config{InsecureSkipVerify: true}}}
			p := newProxy(t, http1.Target{Address: up.addr, TLS: true}, cfg)
			c := dial(t, p.addr)
			c.send(get)
			c.answer()
			p.outcome(t)
			close(over)
			wait(t, "the upstream's bytes", sent)
			c.send(get)
			if a := c.answer(); a.StatusCode != http.StatusOK || a.body != "ok" {
				t.Errorf("got %d %q", a.StatusCode, a.body)
			}
			if n := up.conns.Load(); n != row.conns {
				t.Errorf("the upstream had %d connections, want %d", n, row.conns)
			}
		})
	}
}

// TestAnswersBeforeTheRequest has an upstream send an answer on each new connection before it has read a request, and then one to each
// request. Such an answer reaches the connection's first client at most.
func TestAnswersBeforeTheRequest(t *testing.T) {
	sent := make(chan struct{}, 100)
	up := newUpstream(t, func(p *peer) {
		p.send(marked(0, "200 OK", "<0>"))
		for {
			head, err := p.head()
			if err != nil {
				return
			}
			n, err := strconv.Atoi(strings.TrimPrefix(strings.Fields(head)[1], "/"))
			if err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(p, marked(n, "200 OK", fmt.Sprintf("<%d>", n)))
			delivered(p)
			sent <- struct{}{}
		}
	})
	p := newProxy(t, to(up), proxyConfig{})
	for n := 1; n <= 10; n++ {
		c := dial(t, p.addr)
		c.send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", n))
		a := c.answer()
		if own := fmt.Sprintf("<%d>", n); a.StatusCode != http.StatusOK || a.body != own && a.body != "<0>" {
			t.Errorf("client %d got %d %q", n, a.StatusCode, a.body)
		}
		p.outcome(t)
		wait(t, "the upstream's answer", sent)
	}
}
