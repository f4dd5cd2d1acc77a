package middleware

import (
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// minGzip is the size from which compression is worth its time: what is smaller fits into one packet anyway.
const minGzip = 1024

var writers = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

// Gzip compresses answers for clients that take it, unless they are small, compressed already, or of a kind that does not
// get smaller. What a handler flushes leaves at once; server-sent events pass through as they are.
func Gzip(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if r.Method == http.MethodHead || r.Header.Get("Upgrade") != "" || !acceptsGzip(r.Header.Values("Accept-Encoding")) {
			next.ServeHTTP(w, r)
			return
		}
		g := &gzipWriter{ResponseWriter: w}
		panicked := true
		defer func() {
			g.close(panicked)
		}()
		next.ServeHTTP(g, r)
		panicked = false
	})
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3).
func acceptsGzip(values []string) bool {
	others := false
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		coding, params, _ := strings.Cut(item, ";")
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			return quality(params) > 0
		case "*":
			others = quality(params) > 0
		}
	}
	return others
}

// quality reads "q=0.5"; without it the quality is 1, and 0 where it is no number.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}

// gzipWriter holds back the beginning of an answer until it is known whether it is worth compressing.
type gzipWriter struct {
	http.ResponseWriter
	status  int
	head    []byte
	decided bool
	zip     *gzip.Writer // nil where the answer passes as it is
}

var _ http.Flusher = (*gzipWriter)(nil)

// Unwrap lets http.ResponseController find what this writer does not do itself.
func (g *gzipWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

// WriteHeader implements http.ResponseWriter. The header leaves with the first bytes.
func (g *gzipWriter) WriteHeader(status int) {
	switch {
	case status < 200 && status != http.StatusSwitchingProtocols:
		g.ResponseWriter.WriteHeader(status)
	case g.status == 0:
		g.status = status
	}
}

// Write implements http.ResponseWriter.
func (g *gzipWriter) Write(b []byte) (int, error) {
	if !g.decided {
		g.head = append(g.head, b...)
		if len(g.head) < minGzip {
			return len(b), nil
		}
		return len(b), g.decide(true)
	}
	if g.zip != nil {
		return g.zip.Write(b)
	}
	return g.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (g *gzipWriter) Flush() { _ = g.FlushError() } // http.Flusher has no way to tell

// FlushError is what http.ResponseController calls.
func (g *gzipWriter) FlushError() error {
	if !g.decided {
		if err := g.decide(true); err != nil { // a stream, which may become long
			return err
		}
	}
	if g.zip != nil {
		if err := g.zip.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(g.ResponseWriter).Flush()
}

// decide sends the header and what was held back, compressed where that is wanted and allowed.
func (g *gzipWriter) decide(compress bool) error {
	g.decided = true
	h := g.Header()
	if g.status == 0 {
		g.status = http.StatusOK
	}
	if h.Get("Content-Type") == "" && len(g.head) > 0 {
		h.Set("Content-Type", http.DetectContentType(g.head)) // net/http would look at compressed bytes
	}
	if compress && compressible(g.status, h) {
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
		h.Del("Accept-Ranges")
		if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
			h.Set("ETag", "W/"+tag) // other bytes, the same meaning
		}
		g.zip = writers.Get().(*gzip.Writer)
		g.zip.Reset(g.ResponseWriter)
	}
	g.ResponseWriter.WriteHeader(g.status)
	head := g.head
	g.head = nil
	if len(head) == 0 {
		return nil
	}
	_, err := g.Write(head)
	return err
}

// close ends the answer. Where the handler panicked nothing more is sent: who recovers decides what is answered.
func (g *gzipWriter) close(panicked bool) {
	if !panicked {
		if !g.decided && (g.status != 0 || len(g.head) > 0) {
			_ = g.decide(false) // the client has gone, if it fails
		}
		if g.zip != nil {
			_ = g.zip.Close() // as above
		}
	}
	if g.zip != nil {
		g.zip.Reset(io.Discard)
		writers.Put(g.zip)
		g.zip = nil
	}
}

// compressed are types whose bytes get no smaller.
var compressed = []string{"image/", "video/", "audio/", "font/", "application/zip", "application/gzip", "application/x-gzip", "application/x-7z", "text/event-stream"}

func compressible(status int, h http.Header) bool {
	if status == http.StatusNoContent || status == http.StatusPartialContent || status == http.StatusNotModified || status < 200 {
		return false
	}
	kind := strings.ToLower(h.Get("Content-Type"))
	if strings.HasPrefix(kind, "image/svg") {
		kind = ""
	}
	return h.Get("Content-Encoding") == "" && h.Get("Content-Range") == "" &&
		!strings.Contains(h.Get("Cache-Control"), "no-transform") &&
		!slices.ContainsFunc(compressed, func(prefix string) bool { return strings.HasPrefix(kind, prefix) })
}
