package http1_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// TestRefusals checks that malformed requests are answered, that the answer arrives although the client may still be
// sending, and that the connection ends with it: what follows is never taken for a request.
func TestRefusals(t *testing.T) {
	var served atomic.Int64
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		if _, err := x.ReadBody(1 << 20); err != nil {
			x.Refuse(err)
			return
		}
		served.Add(1)
		hello(x)
	})
	const post = "POST / HTTP/1.1\r\nHost: a\r\n"
	for _, row := range []struct {
		name, request string
		status        int
	}{
		{"length and coding", post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{"chunk size 0x3", post + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk size with a bare LF", post + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400},
		{"chunk size that overflows", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400},
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		{"expectation", post + "Content-Length: 4\r\nExpect: a-miracle\r\n\r\n", 417},
		{"1.1 MB header", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1_100_000) + "\r\n\r\n", 431},
		{"20,000 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Field: value\r\n", 20_000) + "\r\n", 431},
		{"target of 1 MB", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		{"length over the limit", post + "Content-Length: 1048577\r\n\r\n" + strings.Repeat("a", 1048577), 413},
		{"chunk over the limit", post + "Transfer-Encoding: chunked\r\n\r\n100001\r\n" + strings.Repeat("a", 0x100001), 413},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := served.Load()
			p := dial(t, addr)
			// What the server doesn't want to read any more may fail to be written; the answer must be there in any case.
			_, _ = io.WriteString(p, row.request+get)
			a := p.answer()
			if a.StatusCode != row.status || !strings.HasPrefix(a.body, `{"error":`) || !a.Close {
				t.Errorf("answer is %d %q, want %d", a.StatusCode, a.body, row.status)
			}
			p.closed()
			if served.Load() != before {
				t.Error("something was taken for a request")
			}
		})
	}
}

// TestBodyOverLimitIsNotRead checks that a body which announces too much is refused before it comes.
func TestBodyOverLimitIsNotRead(t *testing.T) {
	_, addr := newServer(t, http1.Config{MaxBodyBytes: 100}, func(x *http1.Exchange) {
		_, err := io.ReadAll(x.Body())
		x.Refuse(err)
	})
	for name, head := range map[string]string{
		"plain":             "Content-Length: 101\r\n\r\n",
		"with expectation":  "Content-Length: 101\r\nExpect: 100-continue\r\n\r\n",
		"in a chunk's size": "Transfer-Encoding: chunked\r\n\r\n65\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, addr)
			p.send("POST / HTTP/1.1\r\nHost: a\r\n" + head)
			if a := p.answer(); a.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, "100 bytes") {
				t.Errorf("answer is %d %q", a.StatusCode, a.body)
			}
		})
	}
}

func TestExpectContinue(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		if string(x.Path()) == "/refused" {
			x.Fail(403, "FORBIDDEN", "no")
			return
		}
		body, err := x.ReadBody(100)
		if err != nil {
			x.Refuse(err)
			return
		}
		x.Respond(200, "text/plain", body)
	})
	p := dial(t, addr)
	p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	if head, err := p.head(); err != nil || head != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("head is %q, %v", head, err)
	}
	p.send("abc")
	if a := p.answer(); a.body != "abc" {
		t.Errorf("answer is %q", a.body)
	}
	p.send("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	if a := p.answer(); a.StatusCode != http.StatusForbidden || !a.Close {
		t.Errorf("answer is %d, close is %t; what comes next could be the body or a request", a.StatusCode, a.Close)
	}
	p = dial(t, addr)
	p.send("POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
	if a := p.answer(); a.body != "abc" {
		t.Errorf("answer to HTTP/1.0 is %q", a.body)
	}
}

// TestUnwantedBody checks that a short body which nobody reads doesn't cost the connection, and a long one does.
func TestUnwantedBody(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, hello)
	p := dial(t, addr)
	p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 200000) + get)
	for range 2 {
		if a := p.answer(); a.StatusCode != http.StatusOK || a.Close {
			t.Fatalf("answer is %d, close is %t", a.StatusCode, a.Close)
		}
	}
	p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
	if a := p.answer(); a.StatusCode != http.StatusOK || !a.Close {
		t.Errorf("answer is %d, close is %t", a.StatusCode, a.Close)
	}
	p.closed()
}

// TestSlowClients checks that clients which take their time are thrown out, each told why if that can be.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	var large atomic.Bool // was asked for
	srv, addr := newServer(t, http1.Config{
		HeaderTimeout: 150 * time.Millisecond, IdleTimeout: 150 * time.Millisecond, BodyTimeout: 150 * time.Millisecond,
		WriteTimeout: 150 * time.Millisecond,
	}, func(x *http1.Exchange) {
		if string(x.Path()) == "/large" {
			large.Store(true)
			x.Respond(200, "text/plain", make([]byte, 64<<20))
			return
		}
		if _, err := x.ReadBody(100); err != nil {
			x.Refuse(err)
			return
		}
		hello(x)
	})
	t.Run("nothing", func(t *testing.T) { dial(t, addr).closed() })
	t.Run("nothing more", func(t *testing.T) {
		p := dial(t, addr)
		p.send(get)
		p.answer()
		p.closed()
	})
	t.Run("header, byte by byte", func(t *testing.T) {
		p := dial(t, addr)
		trickle(t, p, get[:len(get)-2])
		if a := p.answer(); a.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answer is %d", a.StatusCode)
		}
		p.closed()
	})
	t.Run("body", func(t *testing.T) {
		p := dial(t, addr)
		p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
		if a := p.answer(); a.StatusCode != http.StatusRequestTimeout {
			t.Errorf("answer is %d", a.StatusCode)
		}
		p.closed()
	})
	t.Run("answer that nobody reads", func(t *testing.T) {
		p := dial(t, addr)
		p.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
		eventually(t, "asked", large.Load)
		eventually(t, "given up", func() bool { return srv.Stats().OpenConns == 0 })
		if body, err := p.rest(); err == nil || len(body) >= 64<<20 {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
	})
}

// trickle sends s slowly, in another goroutine, until the connection ends.
func trickle(t *testing.T, p *peer, s string) {
	t.Helper()
	var sending sync.WaitGroup
	t.Cleanup(sending.Wait)
	sending.Go(func() {
		for i := range s {
			if _, err := io.WriteString(p, s[i:i+1]); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// TestBodyRate checks that a body which always brings a little, but on average too little, is given up.
func TestBodyRate(t *testing.T) {
	t.Parallel()
	failed := make(chan time.Duration, 1)
	_, addr := newServer(t, http1.Config{MinBodyRate: 1000}, func(x *http1.Exchange) {
		start := time.Now()
		_, err := x.ReadBody(1 << 20)
		failed <- time.Since(start)
		x.Refuse(err)
	})
	p := dial(t, addr)
	p.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
	trickle(t, p, strings.Repeat("x", 600))
	if a := p.answer(); a.StatusCode != http.StatusRequestTimeout {
		t.Errorf("answer is %d", a.StatusCode)
	}
	if took := wait(t, "failure", failed); took < 5*time.Second || took > 7*time.Second {
		t.Errorf("given up after %v, want the 5 s of grace and what the bytes earned", took)
	}
}

// TestSlowClientsLeaveRoomForOthers has a thousand clients send nothing but the start of a request.
func TestSlowClientsLeaveRoomForOthers(t *testing.T) {
	srv, addr := newServer(t, http1.Config{HeaderTimeout: time.Second}, hello)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 {
		dial(t, addr).send("GET / HT")
	}
	eventually(t, "they are all there", func() bool { return srv.Stats().OpenConns > 900 })
	p := dial(t, addr)
	p.send(get)
	if a := p.answer(); a.StatusCode != http.StatusOK {
		t.Errorf("answer is %d", a.StatusCode)
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("they take %d bytes", grown)
	}
	_ = p.Close()
	eventually(t, "they are thrown out", func() bool { return srv.Stats().OpenConns == 0 })
}

// failingListener fails a few times as if there were no file descriptors left.
type failingListener struct {
	net.Listener
	failures atomic.Int64
	err      error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: l.err}
	}
	return l.Listener.Accept()
}

func TestAcceptFails(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &failingListener{Listener: inner, err: syscall.EMFILE}
	ln.failures.Store(3)
	newServerOn(t, ln, http1.Config{}, hello)
	start := time.Now()
	p := dial(t, inner.Addr().String())
	p.send(get)
	p.answer()
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("three failures took %v: there was no pause", took)
	}
}

func TestListenerBreaks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := &failingListener{Listener: ln, err: errors.New("broken")}
	broken.failures.Store(1)
	srv, _ := newServer(t, http1.Config{}, hello)
	if err := srv.Serve(broken); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("serve gives %v", err)
	}
}

// TestReadBody checks bodies of all framings and sizes around those of the buffers.
func TestReadBody(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		read := x.ReadBody
		if string(x.Path()) == "/reader" {
			read = func(int64) ([]byte, error) { return io.ReadAll(x.Body()) }
		}
		body, err := read(1 << 20)
		if err != nil {
			x.Refuse(err)
			return
		}
		x.Respond(200, "text/plain", body)
	})
	p := dial(t, addr)
	for _, path := range []string{"/whole", "/reader"} {
		for _, size := range []int{0, 1, 4000, 4096, 5000, 32 << 10, 40_000, 128 << 10, 200_000, 1 << 20} {
			body := strings.Repeat("0123456789abcdef", size/16+1)[:size]
			head := "POST " + path + " HTTP/1.1\r\nHost: a\r\n"
			p.send(head + "Content-Length: " + strconv.Itoa(size) + "\r\n\r\n" + body)
			if a := p.answer(); a.body != body {
				t.Errorf("%s: %d bytes came as %d: %.60q", path, size, len(a.body), a.body)
			}
			p.send(head + "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, 1000) + "0\r\nX: y\r\n\r\n")
			if a := p.answer(); a.body != body {
				t.Errorf("%s: %d bytes in chunks came as %d: %.60q", path, size, len(a.body), a.body)
			}
		}
	}
}

// TestRequestsDoNotMix has many clients at once send bodies that need more buffers than their heads, and checks that each
// gets an answer to its own.
func TestRequestsDoNotMix(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		body, err := x.ReadBody(1 << 20)
		if err != nil {
			x.Refuse(err)
			return
		}
		x.Header().Set("X-Path", string(x.Path())+string(x.Get("x-path")))
		s := x.Stream(http.StatusOK, "text/plain", -1)
		_, _ = s.Write(body)
		_ = s.Flush()
		_, _ = s.Write(x.Path()) // the request is still there when the answer has begun
	})
	var clients sync.WaitGroup
	defer clients.Wait()
	for i := range 20 {
		p := dial(t, addr)
		clients.Go(func() {
			path := "/" + strconv.Itoa(i)
			body := strings.Repeat(path, 4000)
			for range 20 {
				p.send(lines("POST "+path+" HTTP/1.1", "Host: a", "X-Path: "+path, "Transfer-Encoding: chunked"))
				p.send(chunked(body, 3000) + "0\r\n\r\n")
				res, err := http.ReadResponse(p.r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || string(got) != body+path || res.Header.Get("X-Path") != path+path {
					t.Errorf("%s: got %d bytes for %q, %v", path, len(got), res.Header.Get("X-Path"), err)
				}
			}
		})
	}
}

// chunked cuts a body into chunks of that size. The last chunk is not there.
func chunked(body string, size int) string {
	var sb strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		sb.WriteString(strconv.FormatInt(int64(n), 16) + "\r\n" + body[:n] + "\r\n")
		body = body[n:]
	}
	return sb.String()
}
