package http1

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// AdaptHandler serves with a handler of net/http: for metrics pages and the like, which are asked for now and then. It
// makes the maps and copies of net/http for each request; trailers, hijacking and full duplex are not there.
func AdaptHandler(h http.Handler) Handler {
	return HandlerFunc(func(x *Exchange) {
		r, err := x.httpRequest()
		if err != nil {
			x.Fail(http.StatusBadRequest, "MALFORMED_REQUEST", "the target is not a URL")
			return
		}
		w := &adapted{x: x, header: make(http.Header)}
		h.ServeHTTP(w, r)
		if w.stream == nil {
			w.WriteHeader(http.StatusOK)
		}
	})
}

// httpRequest makes the request one of net/http, which can be kept: it shares no memory with the exchange.
func (x *Exchange) httpRequest() (*http.Request, error) {
	u, err := url.ParseRequestURI(string(x.req.Origin))
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		Method: string(x.Method()), URL: u, Host: string(x.Host()), RequestURI: string(x.Target()),
		Proto: "HTTP/1." + strconv.Itoa(x.Minor()), ProtoMajor: 1, ProtoMinor: x.Minor(),
		Header: make(http.Header), ContentLength: x.BodySize(), RemoteAddr: x.RemoteAddr().String(),
		Body: http.NoBody,
	}
	if x.BodySize() != 0 {
		r.Body = io.NopCloser(x.Body())
	}
	for _, f := range x.Fields() {
		r.Header.Add(string(f.Name), string(f.Value))
	}
	r.Header.Del("Host")
	return r.WithContext(x.Context()), nil
}

// adapted is an answer as a http.ResponseWriter.
type adapted struct {
	x      *Exchange
	header http.Header
	stream *Stream
}

var (
	_ http.ResponseWriter = (*adapted)(nil)
	_ http.Flusher        = (*adapted)(nil)
)

// Header is the header that WriteHeader sends.
func (w *adapted) Header() http.Header { return w.header }

// WriteHeader starts the answer; statuses below 200, and second calls, are dropped.
func (w *adapted) WriteHeader(status int) {
	if w.stream != nil || status < 200 {
		return
	}
	length := int64(-1)
	if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		length = n
	}
	for name, values := range w.header {
		for _, v := range values {
			w.x.Header().Add(name, v)
		}
	}
	w.stream = w.x.Stream(status, "", length)
}

// Write writes to the body, after the header with status 200 where there was none yet.
func (w *adapted) Write(p []byte) (int, error) {
	if w.stream == nil {
		if w.header.Get("Content-Type") == "" {
			w.header.Set("Content-Type", http.DetectContentType(p))
		}
		w.WriteHeader(http.StatusOK)
	}
	return w.stream.Write(p)
}

// Flush sends what was written so far.
func (w *adapted) Flush() {
	if w.stream == nil {
		w.WriteHeader(http.StatusOK)
	}
	_ = w.stream.Flush() // a client that is gone shows in the request's context
}
