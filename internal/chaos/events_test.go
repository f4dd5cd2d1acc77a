package chaos_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// middling is the median, and late what one of a hundred takes longer than.
func (as answers) middling() (median, late time.Duration) {
	var took []time.Duration
	for _, a := range as {
		took = append(took, a.took)
	}
	slices.Sort(took)
	if len(took) == 0 {
		return 0, 0
	}
	return took[len(took)/2], took[len(took)*99/100]
}

// TestSlowConsumersOfEvents has clients ask for all events and read none, while events happen.
func TestSlowConsumersOfEvents(t *testing.T) {
	const row = "a slow consumer"
	m := start(t, cluster.Config{})
	admin, mover := m.Admin(t), m.Register(t, "mover-svc")
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	for i := range 200 { // events for both spans, and for those who ask for past ones
		in := obj{"url": fmt.Sprintf("http://127.0.1.1:81/%d", i)}
		m.Do(t, "PUT", "/registry-svc/instance", mover, in).Must(t, http.StatusCreated)
	}
	from := tr.now()
	m.changes(t, mover, 0)
	at := tr.now()
	for range 3 {
		c, err := net.Dial("tcp", m.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /gateway-svc/events?since=1h HTTP/1.1\r\nHost: mesh\r\nAuthorization: Bearer "+admin+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	m.changes(t, mover, 1)
	got := tr.end()
	before, during := got.sent(from, at), got.sent(at, tr.now())
	median, late := before.middling()
	medianNow, lateNow := during.middling()
	figure(t, row, "median %v before, %v with 3 clients that don't read; the 99th percentile %v, %v; %d of %d requests failed",
		median, medianNow, late, lateNow, got.failed(), len(got))
	if medianNow > 2*median+5*time.Millisecond {
		t.Errorf("the median went from %v to %v", median, medianNow)
	}
	if got.failed() > 0 {
		t.Errorf("%d of %d requests failed: %v", got.failed(), len(got), got.statuses())
	}
}

// changes makes events for five seconds: an instance moves from one URL to another.
func (m *mesh) changes(t *testing.T, token string, span int) {
	t.Helper()
	began := time.Now()
	for i := 0; time.Since(began) < 5*time.Second; i++ {
		in := obj{"id": fmt.Sprintf("mover-%d", span), "url": fmt.Sprintf("http://127.0.1.1:82/%d-%d", span, i)}
		m.Do(t, "PUT", "/registry-svc/instance", token, in).Must(t, http.StatusCreated)
	}
}
