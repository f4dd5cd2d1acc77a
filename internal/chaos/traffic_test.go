package chaos_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// answer is what became of one request.
type answer struct {
	at     time.Duration // when it was sent, since the traffic began
	took   time.Duration
	status int    // 0 where none came
	by     string // the instance
}

// answers are those of requests of some time.
type answers []answer

// traffic sends requests at a rate that doesn't wait for answers, and remembers each.
type traffic struct {
	url    string
	client *http.Client
	began  time.Time
	stop   chan struct{}
	done   sync.WaitGroup

	mu  sync.Mutex
	all answers
}

// traffic begins to send so many requests a second to a URL. A request that isn't answered within a time counts as failed.
func newTraffic(t *testing.T, url string, perSecond int, within time.Duration) *traffic {
	t.Helper()
	tr := &traffic{
		url: url, began: time.Now(), stop: make(chan struct{}),
		client: &http.Client{Timeout: within, Transport: &http.Transport{MaxIdleConnsPerHost: 1024}},
	}
	tr.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tr.done.Go(tr.request)
			case <-tr.stop:
				return
			}
		}
	})
	return tr
}

func (tr *traffic) request() {
	began := time.Now()
	a := answer{at: began.Sub(tr.began)}
	if rsp, err := tr.client.Get(tr.url); err == nil {
		_, err = io.Copy(io.Discard, rsp.Body)
		_ = rsp.Body.Close()
		if err == nil {
			a.status, a.by = rsp.StatusCode, rsp.Header.Get(byHeader)
		}
	}
	a.took = time.Since(began)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.all = append(tr.all, a)
}

// now is how long the traffic has been going on.
func (tr *traffic) now() time.Duration { return time.Since(tr.began) }

// flow lets the traffic go on for a while.
func (tr *traffic) flow(d time.Duration) { <-time.After(d) }

// end ends the traffic and gives all answers.
func (tr *traffic) end() answers {
	close(tr.stop)
	tr.done.Wait()
	tr.client.CloseIdleConnections()
	return tr.all
}

// sent gives those whose request was sent in a span of time.
func (as answers) sent(from, to time.Duration) (out answers) {
	for _, a := range as {
		if a.at >= from && a.at < to {
			out = append(out, a)
		}
	}
	return out
}

// failed counts those that are not 200.
func (as answers) failed() (n int) {
	for _, a := range as {
		if a.status != http.StatusOK {
			n++
		}
	}
	return n
}

// by counts those of an instance.
func (as answers) by(name string) (n int) {
	for _, a := range as {
		if a.by == name {
			n++
		}
	}
	return n
}

// slowest is the longest that any took.
func (as answers) slowest() (d time.Duration) {
	for _, a := range as {
		d = max(d, a.took)
	}
	return d.Round(time.Millisecond)
}

// statuses counts them, for messages.
func (as answers) statuses() map[int]int {
	out := map[int]int{}
	for _, a := range as {
		out[a.status]++
	}
	return out
}

// share is a count in percent of all of them.
func (as answers) share(n int) float64 { return 100 * float64(n) / float64(max(len(as), 1)) }
