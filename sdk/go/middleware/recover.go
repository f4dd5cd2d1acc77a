package middleware

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"micromesh/pkg/errs"
	sdk "micromesh/sdk/go"
)

// Recover answers a handler's panic with a 500 that tells nothing, and logs it with its stack. Where the answer had begun,
// the connection is cut, so that the client does not take a part for the whole. http.ErrAbortHandler goes on, unlogged.
func Recover(log *slog.Logger) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &recorder{ResponseWriter: w}
			defer func() {
				p := recover()
				switch p {
				case nil:
					return
				case http.ErrAbortHandler:
					panic(p)
				}
				log.ErrorContext(r.Context(), "handler_panicked", "panic", fmt.Sprint(p), "method", r.Method, "path", r.URL.Path,
					"request_id", r.Header.Get("X-Request-Id"), "stack", string(debug.Stack()))
				if rec.status != 0 {
					panic(http.ErrAbortHandler)
				}
				for _, name := range []string{"Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Cache-Control"} {
					w.Header().Del(name) // it is of the answer that was meant
				}
				sdk.WriteError(w, r, errs.New(errs.Internal, "", "something went wrong on our side"))
			}()
			next.ServeHTTP(rec, r)
		})
	}
}
