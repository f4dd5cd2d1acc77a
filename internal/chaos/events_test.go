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

// TestSlowConsumersOfEvents has clients ask for all events and read none, while events happen; before that, and after it, nobody
// asks.
func TestSlowConsumersOfEvents(t *testing.T) {
	const row = "a slow consumer"
	m := start(t, cluster.Config{})
	admin, mover := m.Admin(t), m.Register(t, "mover-svc")
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	for i := range 200 { // events for those who ask for past ones
		in := obj{"url": fmt.Sprintf("http://127.0.1.1:81/%d", i)}
		m.Do(t, "PUT", "/registry-svc/instance", mover, in).Must(t, http.StatusCreated)
	}
	marks := []time.Duration{tr.now()}
	span := func() { m.changes(t, mover, len(marks)); marks = append(marks, tr.now()) }
	span()
	var slow []net.Conn
	for range 3 {
		slow = append(slow, m.slowConsumer(t, admin))
	}
	span()
	for _, c := range slow {
		_ = c.Close()
	}
	span()
	got := tr.end()
	var median, late [3]time.Duration
	var n [3]int
	for i := range n {
		of := got.sent(marks[i], marks[i+1])
		n[i] = len(of)
		median[i], late[i] = of.middling()
	}
	figure(t, row, "before, with 3 clients that don't read, after them: median %v, 99th percentile %v, of %v requests; %d of %d failed", median, late, n, got.failed(), len(got))
	if most := 2*max(median[0], median[2]) + 5*time.Millisecond; median[1] > most {
		t.Errorf("the median was %v, with slow consumers %v", median[0], median[1])
	}
	if got.failed() > 0 {
		t.Errorf("%d of %d requests failed: %v", got.failed(), len(got), got.statuses())
	}
}

// slowConsumer asks for all events of the last hour, and reads none.
func (m *mesh) slowConsumer(t *testing.T, token string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /gateway-svc/events?since=1h HTTP/1.1\r\nHost: mesh\r\nAuthorization: Bearer "+token+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// changes makes events for a while: an instance moves from one URL to another.
func (m *mesh) changes(t *testing.T, token string, span int) {
	t.Helper()
	began := time.Now()
	for i := 0; time.Since(began) < slowSpan; i++ {
		in := obj{"id": fmt.Sprintf("mover-%d", span), "url": fmt.Sprintf("http://127.0.1.1:82/%d-%d", span, i)}
		m.Do(t, "PUT", "/registry-svc/instance", token, in).Must(t, http.StatusCreated)
	}
}
