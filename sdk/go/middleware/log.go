package middleware

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// LogThrottled logs what was asked and answered, at most so many lines a second, so that a flood of requests is none of lines.
// What it left out it counts, and says so at the end of that second. Queries are not logged: they may hold secrets.
func LogThrottled(log *slog.Logger, perSecond int) Middleware {
	t := &throttle{log: log, limit: perSecond}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &recorder{ResponseWriter: w}
			start := time.Now()
			defer func() { // also where the handler panics
				if !t.allow(time.Now()) {
					return
				}
				log.InfoContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", rec.status,
					"bytes", rec.bytes, "duration", time.Since(start), "request_id", r.Header.Get("X-Request-Id"))
			}()
			next.ServeHTTP(rec, r)
			if rec.status == 0 {
				rec.status = http.StatusOK // what net/http makes of nothing
			}
		})
	}
}

// throttle counts lines in windows of a second.
type throttle struct {
	log   *slog.Logger
	limit int

	mu      sync.Mutex
	end     time.Time // of the window
	lines   int
	omitted int
}

// allow tells whether a line may be written.
func (t *throttle) allow(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.end) {
		t.end, t.lines = now.Add(time.Second), 0
	}
	if t.lines < t.limit {
		t.lines++
		return true
	}
	if t.omitted++; t.omitted == 1 {
		time.AfterFunc(t.end.Sub(now), t.report)
	}
	return false
}

// report says what was left out.
func (t *throttle) report() {
	t.mu.Lock()
	n := t.omitted
	t.omitted = 0
	t.mu.Unlock()
	t.log.Warn("requests_not_logged", "count", n, "limit_per_second", t.limit)
}
