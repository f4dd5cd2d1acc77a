package http1_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"micromesh/gateway/http1"
	"micromesh/gateway/http1/wire"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestConfigReportsEverythingWrong(t *testing.T) {
	_, err := http1.NewServer(http1.Config{MaxHeaders: -1, IdleTimeout: -2})
	if err == nil {
		t.Fatal("an empty configuration is taken")
	}
	for _, what := range []string{"logger", "handler", "max headers", "idle timeout"} {
		if !strings.Contains(err.Error(), what) {
			t.Errorf("error %q does not name the %s", err, what)
		}
	}
}

// TestEmptyLineBeforeARequest sends empty lines where a request line is due (RFC 9112, 2.2).
func TestEmptyLineBeforeARequest(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, hello)
	for name, pieces := range map[string][]string{
		"at first": {"\r\n" + get}, "after a body": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n", get}, "byte by byte": {"\r", "\n", get[:7], get[7:]},
	} {
		p := dial(t, addr)
		for _, piece := range pieces {
			p.send(piece)
		}
		if a := p.answer(); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
		p.send("\r\n" + get)
		if a := p.answer(); a.StatusCode != http.StatusOK {
			t.Errorf("%s, again: %d %s", name, a.StatusCode, a.body)
		}
	}
	for _, bad := range []string{"\r\n\r\n" + get, "\n" + get, "\r\r\n" + get, " \r\n" + get} {
		p := dial(t, addr)
		p.send(bad)
		if a := p.answer(); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%.4q: %d", bad, a.StatusCode)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, hello)
	for _, row := range []struct {
		name, request string
		stays         bool
		connection    string
	}{
		{"HTTP/1.1", get, true, ""},
		{"HTTP/1.1 with close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, "close"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", false, "close"},
		{"HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, "keep-alive"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := dial(t, addr)
			p.send(row.request)
			head, err := p.head()
			if err != nil {
				t.Fatal(err)
			}
			if row.connection != "" != strings.Contains(head, "Connection: "+row.connection+"\r\n") {
				t.Errorf("head is %q, want Connection %q", head, row.connection)
			}
			p.read(len("hello"))
			if !row.stays {
				p.closed()
				return
			}
			p.send(get)
			if a := p.answer(); a.StatusCode != http.StatusOK || a.body != "hello" {
				t.Errorf("second answer is %d %q", a.StatusCode, a.body)
			}
		})
	}
}

// TestPipelining checks that requests which come at once, with bodies that nobody reads between them, are answered in
// their order.
func TestPipelining(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		x.Respond(http.StatusOK, "text/plain", x.Path())
	})
	p := dial(t, addr)
	p.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET /x " +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
		"GET /4 HTTP/1.1\r\nHost: a\r\n\r\n" + "GET /5 HT")
	for _, want := range []string{"/1", "/2", "/3", "/4"} {
		if a := p.answer(); a.body != want {
			t.Fatalf("answer is for %q, want %q", a.body, want)
		}
	}
	p.send("TP/1.1\r\nHost: a\r\n\r\n")
	if a := p.answer(); a.body != "/5" {
		t.Errorf("answer is for %q", a.body)
	}
}

func TestAnswers(t *testing.T) {
	large := strings.Repeat("x", 300_000)
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		x.Header().Set("X-A", "1")
		x.Header().Add("x-a", "2")
		x.Header().Set("X-Evil", "a\r\nSet-Cookie: b")
		x.Header().Set("Content-Length", "9")
		switch string(x.Path()) {
		case "/large":
			x.Respond(http.StatusOK, "text/plain", []byte(large))
		case "/none":
			x.Respond(http.StatusNoContent, "", []byte("dropped"))
		case "/twice":
			x.Respond(http.StatusOK, "text/plain", []byte("first"))
			x.Respond(http.StatusTeapot, "text/plain", []byte("second"))
		case "/stream":
			s := x.Stream(http.StatusOK, "text/plain", -1)
			_, _ = io.WriteString(s, "a")
			_ = s.Flush()
			_, _ = io.WriteString(s, large)
		case "/sized":
			s := x.Stream(http.StatusOK, "text/plain", 3)
			_, _ = io.WriteString(s, "abc")
			if _, err := io.WriteString(s, "d"); !errors.Is(err, http1.ErrBodyLength) {
				t.Errorf("writing too much: %v", err)
			}
		case "/fail":
			x.Fail(http.StatusConflict, "TAKEN", "it is taken")
		case "/forgotten":
		}
	})
	for _, row := range []struct {
		path   string
		status int
		body   string
	}{
		{"/large", 200, large},
		{"/none", 204, ""},
		{"/twice", 200, "first"},
		{"/stream", 200, "a" + large},
		{"/sized", 200, "abc"},
		{"/fail", 409, `{"error":"it is taken","code":"TAKEN"}` + "\n"},
		{"/forgotten", 500, `{"error":"the request could not be answered","code":"INTERNAL"}` + "\n"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(method+" "+row.path, func(t *testing.T) {
				p := dial(t, addr)
				request := method + " " + row.path + " HTTP/1.1\r\nHost: a\r\n\r\n"
				p.send(request)
				for range 2 { // the second one finds out whether the first one ended where it should
					a := p.answerTo(method)
					want := row.body
					if method == "HEAD" {
						want = ""
					}
					if a.StatusCode != row.status || a.body != want {
						t.Fatalf("answer is %d with %d bytes: %.80q", a.StatusCode, len(a.body), a.body)
					}
					if got := strings.Join(a.Header["X-A"], ","); got != "1,2" || a.Header.Get("X-Evil") != "" {
						t.Errorf("header is %v", a.Header)
					}
					if a.Header.Get("Date") == "" {
						t.Error("there is no date")
					}
					p.send(request)
				}
			})
		}
	}
	t.Run("HTTP/1.0", func(t *testing.T) {
		p := dial(t, addr)
		p.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		if head, err := p.head(); err != nil || strings.Contains(head, "chunked") {
			t.Fatalf("head is %q, %v", head, err)
		}
		if body, err := p.rest(); err != nil || body != "a"+large {
			t.Errorf("body has %d bytes, %v", len(body), err)
		}
	})
}

// TestShortStreamBreaks checks that an answer which is shorter than announced does not look complete.
func TestShortStreamBreaks(t *testing.T) {
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		s := x.Stream(http.StatusOK, "text/plain", 5)
		_, _ = io.WriteString(s, "abc")
		_ = s.Flush()
	})
	p := dial(t, addr)
	p.send(get)
	if _, err := p.head(); err != nil {
		t.Fatal(err)
	}
	if body, err := p.rest(); err == nil && len(body) >= 5 {
		t.Errorf("body is %q, as if it were complete", body)
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	srv, addr := newServer(t, http1.Config{Logger: logger}, func(x *http1.Exchange) {
		if string(x.Path()) == "/late" {
			_ = x.Stream(http.StatusOK, "text/plain", -1).Flush()
		}
		panic("secret")
	})
	p := dial(t, addr)
	p.send(get)
	if a := p.answer(); a.StatusCode != http.StatusInternalServerError || strings.Contains(a.body, "secret") || !a.Close {
		t.Errorf("answer is %d %q", a.StatusCode, a.body)
	}
	p.closed()
	p = dial(t, addr)
	p.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
	if raw, _ := p.rest(); strings.Contains(raw, "0\r\n\r\n") {
		t.Errorf("answer %q looks complete", raw)
	}
	eventually(t, "connections end", func() bool { return srv.Stats().OpenConns == 0 })
	if !strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), "server_test.go") {
		t.Errorf("log %q has not the panic and its stack", log.String())
	}
}

func TestExchangeTellsTheRequest(t *testing.T) {
	got := make(chan string, 1)
	_, addr := newServer(t, http1.Config{}, func(x *http1.Exchange) {
		got <- strings.Join([]string{
			string(x.Method()), string(x.Path()), string(x.RawQuery()), string(x.Host()), string(x.Get("x-a")),
			x.ClientIP().String(), http.StatusText(http.StatusOK),
		}, " ")
		if x.TLS() || x.Minor() != 1 || x.IsUpgrade() || x.BodySize() != 0 || !x.RemoteAddr().IsValid() {
			t.Error("the exchange says wrong things")
		}
		hello(x)
	})
	p := dial(t, addr)
	p.send("REPORT /a%2Fb?c=%20 HTTP/1.1\r\nhOST: A.example:1\r\nX-a: b\r\n\r\n")
	p.answer()
	if want, g := "REPORT /a%2Fb c=%20 A.example:1 b 127.0.0.1 OK", wait(t, "request", got); g != want {
		t.Errorf("request is %q, want %q", g, want)
	}
}

func TestClientIP(t *testing.T) {
	for _, row := range []struct {
		name, trusted, forwarded, want string
	}{
		{"not trusted", "10.0.0.0/8", "6.6.6.6", "127.0.0.1"},
		{"trusted", "127.0.0.0/8", "6.6.6.6, 7.7.7.7", "7.7.7.7"},
		{"chain of trusted ones", "127.0.0.0/8", "6.6.6.6, 7.7.7.7, 127.0.0.9", "7.7.7.7"},
		{"nonsense", "127.0.0.0/8", "6.6.6.6, x", "127.0.0.1"},
		{"nothing", "127.0.0.0/8", "", "127.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := make(chan string, 1)
			cfg := http1.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix(row.trusted)}}
			_, addr := newServer(t, cfg, func(x *http1.Exchange) {
				got <- x.ClientIP().String()
				hello(x)
			})
			p := dial(t, addr)
			p.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + row.forwarded + "\r\n\r\n")
			p.answer()
			if g := wait(t, "address", got); g != row.want {
				t.Errorf("address is %s, want %s", g, row.want)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	srv, addr := newServer(t, http1.Config{MaxConns: 1}, hello)
	first := dial(t, addr)
	first.send(get)
	first.answer()
	second := dial(t, addr)
	if a := second.answer(); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, "OVERLOADED") {
		t.Errorf("answer is %d %q", a.StatusCode, a.body)
	}
	second.closed()
	_ = first.Close()
	eventually(t, "the first connection ends", func() bool { return srv.Stats().OpenConns == 0 })
	third := dial(t, addr)
	third.send(get)
	if a := third.answer(); a.StatusCode != http.StatusOK {
		t.Errorf("answer is %d", a.StatusCode)
	}
	if s := srv.Stats(); s.TurnedAway != 1 || s.Requests != 2 {
		t.Errorf("stats are %+v", s)
	}
}

func TestErrorBody(t *testing.T) {
	_, addr := newServer(t, http1.Config{
		ErrorBody: func(x *http1.Exchange, status int, code, message string) (string, []byte) {
			x.Header().Set("X-Request-Id", "7")
			return "text/x", []byte(code + ": " + message + " " + string(x.Path()))
		},
	}, hello)
	p := dial(t, addr)
	p.send("GET / HTTP/1.1\r\n\r\n")
	a := p.answer()
	want := wire.CodeMalformed + ": the request must have exactly one Host "
	if a.body != want || a.Header.Get("X-Request-Id") != "7" || a.Header.Get("Content-Type") != "text/x" {
		t.Errorf("answer is %q, %v", a.body, a.Header)
	}
}

func TestAdaptedHandler(t *testing.T) {
	h := http1.AdaptHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-A", r.Header.Get("X-A"))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, r.Method+r.URL.Path+r.Host+string(body))
	}))
	_, addr := newServer(t, http1.Config{}, h.ServeHTTP1)
	p := dial(t, addr)
	p.send("POST /x HTTP/1.1\r\nHost: a\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	if a := p.answer(); a.StatusCode != http.StatusCreated || a.body != "POST/xaabc" || a.Header.Get("X-A") != "b" {
		t.Errorf("answer is %d %q", a.StatusCode, a.body)
	}
}
