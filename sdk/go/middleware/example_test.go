package middleware_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"micromesh/sdk/go/middleware"
)

// plain logs without what differs from run to run.
func plain() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, "duration", "request_id", "stack":
			return slog.Attr{}
		}
		return a
	}}))
}

// ask asks a handler, with headers as "Name: value".
func ask(h http.Handler, method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// The first sees a request first. So the log tells of every request, also of one whose handler panicked.
func ExampleChain() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	mux.HandleFunc("GET /broken", func(http.ResponseWriter, *http.Request) { panic("no pets") })
	h := middleware.Chain(mux,
		middleware.LogThrottled(plain(), 20),
		middleware.Recover(plain()),
		middleware.Gzip,
	)
	ask(h, http.MethodGet, "/hello")
	ask(h, http.MethodGet, "/broken")
	// Output:
	// level=INFO msg=request method=GET path=/hello status=200 bytes=5
	// level=ERROR msg=handler_panicked panic="no pets" method=GET path=/broken
	// level=INFO msg=request method=GET path=/broken status=500 bytes=62
}

func ExampleRecover() {
	h := middleware.Recover(plain())(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("no pets") }))
	fmt.Println(ask(h, http.MethodGet, "/pets").Status)
	// Output:
	// level=ERROR msg=handler_panicked panic="no pets" method=GET path=/pets
	// 500 Internal Server Error
}

func ExampleCORS() {
	h := middleware.CORS(middleware.Options{Origins: []string{"https://shop.example.com"}})(http.NotFoundHandler())
	for _, origin := range []string{"https://shop.example.com", "https://evil.example.com"} {
		rsp := ask(h, http.MethodOptions, "/pets", "Origin: "+origin, "Access-Control-Request-Method: PUT")
		fmt.Printf("%s %q\n", rsp.Status, rsp.Header.Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// 204 No Content "https://shop.example.com"
	// 204 No Content ""
}

func ExampleGzip() {
	h := middleware.Gzip(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("woof ", 1000)) }))
	fmt.Println(ask(h, http.MethodGet, "/", "Accept-Encoding: gzip").Header.Get("Content-Encoding"))
	fmt.Printf("%q\n", ask(h, http.MethodGet, "/").Header.Get("Content-Encoding"))
	// Output:
	// gzip
	// ""
}

// At most so many lines a second are written; what is left out is counted, and told at the end of that second. Queries may hold secrets, and
// are not logged.
func ExampleLogThrottled() {
	h := middleware.LogThrottled(plain(), 20)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask(h, http.MethodGet, "/one?secret=1")
	// Output:
	// level=INFO msg=request method=GET path=/one status=200 bytes=0
}
