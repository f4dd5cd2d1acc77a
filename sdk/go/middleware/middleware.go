// Package middleware has handlers to put around those of a service: each takes a handler and gives one, as is usual with
// net/http. What streams keeps streaming: http.Flusher and http.ResponseController work through all of them.
//
//	handler = middleware.Chain(mux,
//		middleware.LogThrottled(log, 20),
//		middleware.Recover(log),
//		middleware.CORS(middleware.Options{Origins: []string{"https://shop.example.com"}}),
//		middleware.Gzip,
//	)
package middleware

import (
	"net/http"
	"slices"
)

// Middleware puts a handler around another.
type Middleware = func(http.Handler) http.Handler

// Chain puts middlewares around a handler. The first is the outermost: it sees the request first and the answer last.
func Chain(h http.Handler, around ...Middleware) http.Handler {
	for _, m := range slices.Backward(around) {
		h = m(h)
	}
	return h
}

// recorder notes what is answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

var _ http.Flusher = (*recorder)(nil)

// Unwrap lets http.ResponseController find what this writer does not do itself.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader implements http.ResponseWriter. Informational answers are not the last.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() } // http.Flusher has no way to tell

// FlushError is what http.ResponseController calls.
func (r *recorder) FlushError() error {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return http.NewResponseController(r.ResponseWriter).Flush()
}
