package http1_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// watch says the same each time it is asked.
type watch struct {
	abandon bool
	asked   atomic.Int32
}

func (w *watch) Abandon(sent, now time.Time) bool {
	w.asked.Add(1)
	return w.abandon && now.After(sent)
}

// TestWatchedRequests has requests wait for an upstream, whose watch says what is to become of them.
func TestWatchedRequests(t *testing.T) {
	put := strings.Replace(post, "POST", "PUT", 1)
	const late = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	release := make(chan struct{})
	silent := func(p *peer) { _, _ = p.rest() }
	for _, row := range []struct {
		name, request string
		upstream      func(*peer)
		abandon       bool
		limit         time.Duration
		result        http1.Result
		abandoned     bool
		asked         bool
	}{
		{"given up", get, silent, true, time.Minute, http1.TimedOut, true, true},
		{"given up without any limit", get, silent, true, http1.Unlimited, http1.TimedOut, true, true},
		{"PUT is not sent twice", put, silent, true, 300 * time.Millisecond, http1.TimedOut, false, false},
		{"POST is not sent twice", post, silent, true, 300 * time.Millisecond, http1.TimedOut, false, false},
		{"the limit ends it", get, silent, false, 700 * time.Millisecond, http1.TimedOut, false, true},
		{"an answer after all", get, func(p *peer) {
			_, _ = p.head()
			<-release
			_, _ = io.WriteString(p, late)
		}, false, time.Minute, http1.Answered, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := &watch{abandon: row.abandon}
			p := newProxy(t, to(newUpstream(t, row.upstream)), proxyConfig{options: http1.ForwardOptions{HeaderTimeout: row.limit, Watch: w}})
			c := dial(t, p.addr)
			c.send(row.request)
			if row.result == http1.Answered {
				eventually(t, "asked", func() bool { return w.asked.Load() > 1 })
				close(release)
			}
			a, o := c.answer(), p.outcome(t)
			if (a.StatusCode == http.StatusOK) != (row.result == http1.Answered) {
				t.Errorf("answer is %d", a.StatusCode)
			}
			if o.Result != row.result || o.Abandoned != row.abandoned || (w.asked.Load() > 0) != row.asked {
				t.Errorf("outcome is %v, abandoned %t, asked %d times", o.Result, o.Abandoned, w.asked.Load())
			}
		})
	}
}
