package middleware

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options of CORS. The zero value lets no other origin in.
type Options struct {
	// Origins may call from a browser: "https://shop.example.com", as the Origin header has it. "*" is any one, but not
	// together with Credentials: then it counts for nothing, since any page could act as its visitor.
	Origins []string
	// Methods that may be used; GET, HEAD, POST, PUT, PATCH and DELETE where there are none.
	Methods []string
	// Headers that may be sent; Authorization, Content-Type and Mesh-Api-Version where there are none.
	Headers []string
	// Expose are headers of answers that scripts may read beside the usual ones.
	Expose []string
	// Credentials lets cookies and client certificates through.
	Credentials bool
	// MaxAge is how long a browser remembers the answer to its question; 10 minutes where it is 0.
	MaxAge time.Duration
}

// CORS tells browsers which pages of other origins may call (https://fetch.spec.whatwg.org/#http-cors-protocol). It answers
// their preflights itself, with 204. An origin that is not in the list is never named in an answer.
func CORS(o Options) Middleware {
	if len(o.Methods) == 0 {
		o.Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	}
	if len(o.Headers) == 0 {
		o.Headers = []string{"Authorization", "Content-Type", "Mesh-Api-Version"}
	}
	if o.MaxAge == 0 {
		o.MaxAge = 10 * time.Minute
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			preflight := r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
			if o.allow(w.Header(), r.Header.Get("Origin")) && preflight {
				h := w.Header()
				h.Set("Access-Control-Allow-Methods", strings.Join(o.Methods, ", "))
				h.Set("Access-Control-Allow-Headers", strings.Join(o.Headers, ", "))
				h.Set("Access-Control-Max-Age", strconv.Itoa(int(o.MaxAge.Seconds())))
			}
			if preflight {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// allow sets what every answer to an origin has, and tells whether the origin may call.
func (o *Options) allow(h http.Header, origin string) bool {
	open := slices.Contains(o.Origins, "*") && !o.Credentials
	if !open {
		h.Add("Vary", "Origin") // also of the answers to others: a cache must not mix them up
	}
	listed := origin != "" && origin != "*" && slices.Contains(o.Origins, origin)
	if !listed && (!open || origin == "") {
		return false
	}
	if open {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if o.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if len(o.Expose) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(o.Expose, ", "))
	}
	return true
}
