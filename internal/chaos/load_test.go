package chaos_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load asks for one path at a rate, as a client that keeps its connections, until it is told to end. It takes the gateways in turn, and
// the next one where a connection was refused or a gateway is not ready, as a load balancer does.
type load struct {
	urls   []string
	client *http.Client
	stop   chan struct{}
	done   sync.WaitGroup

	starting atomic.Pointer[string] // prefix of the URLs that are not asked: of a gateway that is not ready yet

	mu      sync.Mutex
	sent    int
	lost    map[string]int // by what came instead of 200
	last    time.Time      // of an answer that was 200
	longest time.Duration  // between two of those
	slowest time.Duration
}

// begin begins a load of so many requests a second.
func begin(t *testing.T, perSecond int, urls ...string) *load {
	t.Helper()
	l := &load{
		urls: urls, stop: make(chan struct{}), lost: map[string]int{}, last: time.Now(),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	l.done.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
				l.done.Go(func() { l.request(n) })
			case <-l.stop:
				return
			}
		}
	})
	return l
}

// request makes the nth request.
func (l *load) request(n int) {
	began := time.Now()
	outcome := ""
	for i := range l.urls {
		url := l.urls[(n+i)%len(l.urls)]
		if not := l.starting.Load(); not != nil && strings.HasPrefix(url, *not) {
			continue
		}
		rsp, err := l.client.Get(url)
		if err != nil {
			outcome = err.Error()
			if refused(err) {
				continue
			}
			break
		}
		outcome = rsp.Status
		var why struct{ Error string } // where the gateway itself has answered
		if body, err := io.ReadAll(rsp.Body); err != nil {
			outcome = fmt.Sprintf("%s, cut off: %v", rsp.Status, err)
		} else if rsp.StatusCode != http.StatusOK && json.Unmarshal(body, &why) == nil {
			outcome = rsp.Status + ": " + why.Error
		}
		rsp.Body.Close()
		break
	}
	l.note(outcome, began)
}

func (l *load) note(outcome string, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if outcome != "200 OK" {
		l.lost[outcome]++
		return
	}
	now := time.Now()
	l.longest, l.slowest = max(l.longest, now.Sub(l.last)), max(l.slowest, now.Sub(began))
	l.last = now
}

// end ends the load, and gives how many requests were sent and not answered with 200.
func (l *load) end() (sent, lost int) {
	close(l.stop)
	l.done.Wait()
	l.client.CloseIdleConnections()
	for _, n := range l.lost {
		lost += n
	}
	return l.sent, lost
}

// nothingLost ends the load, and fails the test where a request was lost.
func (l *load) nothingLost(t *testing.T, row string) {
	t.Helper()
	sent, lost := l.end()
	figure(t, row, "%d of %d requests lost, the slowest took %v, the longest time without an answer %v", lost, sent, l.slowest.Round(time.Millisecond), l.longest.Round(time.Millisecond))
	if lost > 0 {
		t.Errorf("%d of %d requests were lost: %v", lost, sent, l.lost)
	}
}
