package middleware_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/logtest"
	"micromesh/sdk/go/middleware"
)

// serve serves a handler on a real port.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelDebug)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// request asks without the conveniences of http.Client, and gives the answer with its bytes as they came.
func request(t *testing.T, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	rsp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rsp, b
}

func unzip(t *testing.T, b []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v: %q", err, b)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestChainPutsTheFirstOutermost(t *testing.T) {
	var got []string
	note := func(name string) middleware.Middleware {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = append(got, name)
				next.ServeHTTP(w, r)
			})
		}
	}
	h := middleware.Chain(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got = append(got, "handler") }), note("a"), note("b"))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	if diff := cmp.Diff([]string{"a", "b", "handler"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestRecoverAnswersInTheShapeOfErrors(t *testing.T) {
	var log bytes.Buffer
	h := middleware.Recover(slog.New(slog.NewTextHandler(&log, nil)))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		panic("the secret is 42")
	}))
	rsp, b := request(t, "GET", serve(t, h), "X-Request-Id", "r1")
	var body struct{ Error, Code, RequestID string }
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatal(err)
	}
	if rsp.StatusCode != 500 || body.Code != "INTERNAL" || body.RequestID != "r1" || strings.Contains(string(b), "42") {
		t.Errorf("answer is %d %s", rsp.StatusCode, b)
	}
	if !strings.Contains(log.String(), "the secret is 42") || !strings.Contains(log.String(), "middleware_test.go") {
		t.Errorf("log is %s", log.String())
	}
}

func TestRecoverCutsWhatHadBegun(t *testing.T) {
	for name, p := range map[string]any{"panic": "oops", "abort": http.ErrAbortHandler} {
		h := middleware.Recover(slog.New(slog.DiscardHandler))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "half of")
			_ = http.NewResponseController(w).Flush()
			panic(p)
		}))
		rsp, err := http.Get(serve(t, h))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rsp.Body)
		rsp.Body.Close()
		if err == nil {
			t.Errorf("%s: the answer %q looks whole", name, b)
		}
	}
}

func TestCORS(t *testing.T) {
	const mine, other = "https://shop.example.com", "https://evil.example.com"
	list := middleware.Options{Origins: []string{mine}, Credentials: true, Expose: []string{"X-Total"}}
	for name, c := range map[string]struct {
		options    middleware.Options
		method     string
		header     []string
		status     int
		allow      string
		credential string
	}{
		"known":                      {list, "GET", []string{"Origin", mine}, 200, mine, "true"},
		"unknown":                    {list, "GET", []string{"Origin", other}, 200, "", ""},
		"prefix of a known one":      {list, "GET", []string{"Origin", mine + ".evil.example"}, 200, "", ""},
		"null":                       {list, "GET", []string{"Origin", "null"}, 200, "", ""},
		"no origin":                  {list, "GET", nil, 200, "", ""},
		"preflight":                  {list, "OPTIONS", []string{"Origin", mine, "Access-Control-Request-Method", "PUT"}, 204, mine, "true"},
		"preflight of another":       {list, "OPTIONS", []string{"Origin", other, "Access-Control-Request-Method", "PUT"}, 204, "", ""},
		"question of another method": {list, "GET", []string{"Origin", mine, "Access-Control-Request-Method", "PUT"}, 200, mine, "true"},
		"question of nobody":         {list, "OPTIONS", []string{"Access-Control-Request-Method", "PUT"}, 200, "", ""},
		"anyone, no origin":          {middleware.Options{Origins: []string{"*"}}, "GET", nil, 200, "", ""},
		"options that asks nothing":  {list, "OPTIONS", []string{"Origin", mine}, 200, mine, "true"},
		"anyone":                     {middleware.Options{Origins: []string{"*"}}, "GET", []string{"Origin", other}, 200, "*", ""},
		"anyone with credentials":    {middleware.Options{Origins: []string{"*"}, Credentials: true}, "GET", []string{"Origin", other}, 200, "", ""},
		"origin that is a star":      {middleware.Options{Origins: []string{"*"}, Credentials: true}, "GET", []string{"Origin", "*"}, 200, "", ""},
		"zero options":               {middleware.Options{}, "GET", []string{"Origin", other}, 200, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			called := false
			h := middleware.CORS(c.options)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
			rsp, _ := request(t, c.method, serve(t, h), c.header...)
			h2 := rsp.Header
			if rsp.StatusCode != c.status || h2.Get("Access-Control-Allow-Origin") != c.allow || h2.Get("Access-Control-Allow-Credentials") != c.credential {
				t.Errorf("answer is %d %v", rsp.StatusCode, h2)
			}
			if called == (c.status == 204) {
				t.Errorf("the handler was called: %t", called)
			}
			if c.allow == mine && (h2.Get("Vary") != "Origin" || h2.Get("Access-Control-Expose-Headers") != "X-Total") {
				t.Errorf("header is %v", h2)
			}
			if got := h2.Get("Access-Control-Allow-Methods"); (got != "") != (c.status == 204 && c.allow != "") {
				t.Errorf("methods are %q", got)
			}
			if preflight := c.status == 204 && c.allow != ""; preflight && (h2.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type, Mesh-Api-Version" || h2.Get("Access-Control-Max-Age") != "600") {
				t.Errorf("the defaults are %v", h2)
			}
		})
	}
}

func TestLogIsThrottledAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Buffer
		h := middleware.LogThrottled(slog.New(slog.NewTextHandler(&log, nil)), 3)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, "none")
		}))
		ask := func(n int) {
			for range n {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/path?token=secret", nil))
			}
		}
		ask(10)
		if n := strings.Count(log.String(), "msg=request "); n != 3 {
			t.Errorf("%d lines were logged", n)
		}
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		if !strings.Contains(log.String(), "msg=requests_not_logged count=7") {
			t.Errorf("log is %s", log.String())
		}
		log.Reset()
		ask(2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		want := `msg=request method=GET path=/path status=404 bytes=4`
		if got := log.String(); strings.Count(got, want) != 2 || strings.Contains(got, "not_logged") || strings.Contains(got, "secret") {
			t.Errorf("log is %s", got)
		}
	})
}

func TestLogTellsTheStatus(t *testing.T) {
	for want, handler := range map[string]http.HandlerFunc{
		"status=200 bytes=0": func(http.ResponseWriter, *http.Request) {},
		"status=200 bytes=2": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") },
		"status=204 bytes=0": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(204) },
		"status=500":         func(http.ResponseWriter, *http.Request) { panic("oops") },
	} {
		var log logtest.Buffer
		h := middleware.Chain(handler, middleware.LogThrottled(slog.New(slog.NewTextHandler(&log, nil)), 1), middleware.Recover(slog.New(slog.DiscardHandler)))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		if !strings.Contains(log.String(), want) {
			t.Errorf("log is %s, want %s", log.String(), want)
		}
	}
}

func TestGzip(t *testing.T) {
	long := strings.Repeat("pets ", 1000)
	answer := func(body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			for part := range strings.SplitSeq(body, " ") {
				fmt.Fprint(w, part+" ")
			}
		}
	}
	for name, c := range map[string]struct {
		accept  string
		handler http.HandlerFunc
		zipped  bool
	}{
		"plain":             {"gzip", answer(long), true},
		"among others":      {"br;q=1.0, GZIP;q=0.5", answer(long), true},
		"any":               {"*", answer(long), true},
		"not at all":        {"", answer(long), false},
		"refused":           {"gzip;q=0, *", answer(long), false},
		"refused precisely": {"*;q=1, gzip; q=0.000", answer(long), false},
		"bad quality":       {"gzip;q=x", answer(long), false},
		"too much quality":  {"gzip;q=2", answer(long), false},
		"other codings":     {"br, deflate", answer(long), false},
		"tiny":              {"gzip", answer("tiny"), false},
		"encoded already":   {"gzip", answer(long, "Content-Encoding", "br"), false},
		"image":             {"gzip", answer(long, "Content-Type", "image/png"), false},
		"drawing":           {"gzip", answer(long, "Content-Type", "image/svg+xml"), true},
		"events":            {"gzip", answer(long, "Content-Type", "text/event-stream"), false},
		"no transform":      {"gzip", answer(long, "Cache-Control", "public, no-transform"), false},
		"part":              {"gzip", answer(long, "Content-Range", "bytes 0-9/100"), false},
	} {
		t.Run(name, func(t *testing.T) {
			plain := httptest.NewRecorder()
			c.handler(plain, nil)
			header := []string{"Accept-Encoding", c.accept}
			rsp, b := request(t, "GET", serve(t, middleware.Gzip(c.handler)), header...)
			if got := rsp.Header.Get("Content-Encoding") == "gzip"; got != c.zipped {
				t.Fatalf("compressed: %t, header is %v", got, rsp.Header)
			}
			text := string(b)
			if c.zipped {
				text = unzip(t, b)
			}
			if text != plain.Body.String() || rsp.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("header is %v, %d bytes are %.40q", rsp.Header, len(text), text)
			}
		})
	}
}

func TestGzipKeepsStatusTypeAndTags(t *testing.T) {
	h := middleware.Gzip(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", "5000")
		w.WriteHeader(418)
		fmt.Fprint(w, "<html>"+strings.Repeat("x", 4994))
	}))
	rsp, b := request(t, "GET", serve(t, h), "Accept-Encoding", "gzip")
	if rsp.StatusCode != 418 || rsp.Header.Get("ETag") != `W/"1"` || !strings.HasPrefix(rsp.Header.Get("Content-Type"), "text/html") || len(unzip(t, b)) != 5000 {
		t.Errorf("answer is %d %v", rsp.StatusCode, rsp.Header)
	}
	for tag, want := range map[string]string{"": "", `W/"1"`: `W/"1"`} {
		h := middleware.Gzip(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tag != "" {
				w.Header().Set("ETag", tag)
			}
			fmt.Fprint(w, strings.Repeat("x", 5000))
		}))
		if rsp, _ := request(t, "GET", serve(t, h), "Accept-Encoding", "gzip"); rsp.Header.Get("ETag") != want || rsp.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("with the tag %q the header is %v", tag, rsp.Header)
		}
	}
	if rsp, _ := request(t, "HEAD", serve(t, h), "Accept-Encoding", "gzip"); rsp.Header.Get("Content-Encoding") != "" || rsp.Header.Get("Content-Length") != "5000" {
		t.Errorf("HEAD answers %v", rsp.Header)
	}
	for _, status := range []int{204, 304} {
		h := middleware.Gzip(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_ = http.NewResponseController(w).Flush()
		}))
		if rsp, b := request(t, "GET", serve(t, h), "Accept-Encoding", "gzip"); rsp.StatusCode != status || len(b) != 0 || rsp.Header.Get("Content-Encoding") != "" {
			t.Errorf("answer is %d %v %q", rsp.StatusCode, rsp.Header, b)
		}
	}
}

// TestStreamsThroughAll: what is flushed arrives before the handler goes on.
func TestStreamsThroughAll(t *testing.T) {
	for kind, zipped := range map[string]bool{"text/event-stream": false, "text/plain": true} {
		t.Run(kind, func(t *testing.T) {
			seen := make(chan struct{})
			h := middleware.Chain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind)
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n", i)
					w.(http.Flusher).Flush()
					select {
					case <-seen:
					case <-r.Context().Done():
						return
					}
				}
			}), middleware.LogThrottled(slog.New(slog.DiscardHandler), 1), middleware.Recover(slog.New(slog.DiscardHandler)),
				middleware.CORS(middleware.Options{}), middleware.Gzip)
			req, err := http.NewRequestWithContext(t.Context(), "GET", serve(t, h), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", "gzip")
			rsp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer rsp.Body.Close()
			body := io.Reader(rsp.Body)
			if zipped {
				if body, err = gzip.NewReader(body); err != nil {
					t.Fatal(err)
				}
			}
			lines := bufio.NewReader(body)
			for i := range 3 {
				if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("line is %q, %v", line, err)
				}
				seen <- struct{}{}
			}
		})
	}
}

func TestPanicBehindGzipIsRecovered(t *testing.T) {
	h := middleware.Chain(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "held back")
		panic("oops")
	}), middleware.Recover(slog.New(slog.DiscardHandler)), middleware.Gzip)
	if rsp, b := request(t, "GET", serve(t, h), "Accept-Encoding", "gzip"); rsp.StatusCode != 500 || strings.Contains(string(b), "held back") {
		t.Errorf("answer is %d %s", rsp.StatusCode, b)
	}
}

func TestResponseControllerReachesTheConnection(t *testing.T) {
	h := middleware.Chain(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		if err := c.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("set deadline: %v", err)
		}
		conn, _, err := c.Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n")
	}), middleware.LogThrottled(slog.New(slog.DiscardHandler), 1), middleware.Recover(slog.New(slog.DiscardHandler)), middleware.Gzip)
	if rsp, _ := request(t, "GET", serve(t, h), "Accept-Encoding", "gzip"); rsp.StatusCode != 299 {
		t.Errorf("status is %d", rsp.StatusCode)
	}
}
