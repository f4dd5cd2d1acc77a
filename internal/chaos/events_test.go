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

// TestSlowConsumersOfEvents has clients ask for all events and read none, while events happen. It does so in turns, with
// nobody asking between them: so that what else changes on the machine changes both.
func TestSlowConsumersOfEvents(t *testing.T) {
	const row = "a slow consumer"
	m := start(t, cluster.Config{})
	admin, mover := m.Admin(t), m.Register(t, "mover-svc")
	for i := range 200 { // events for those who ask for past ones
		in := obj{"url": fmt.Sprintf("http://127.0.1.1:81/%d", i)}
		m.Do(t, "PUT", "/registry-svc/instance", mover, in).Must(t, http.StatusCreated)
	}
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	tr.flow(time.Second)
	stop := m.changes(t, mover)
	type turn struct{ from, to time.Duration }
	var without, with []turn
	for range slowTurns {
		from := tr.now()
		tr.flow(slowSpan)
		without = append(without, turn{from, tr.now()})
		var slow []net.Conn
		from = tr.now()
		for range 3 {
			slow = append(slow, m.slowConsumer(t, admin))
		}
		tr.flow(slowSpan)
		with = append(with, turn{from, tr.now()})
		for _, c := range slow {
			_ = c.Close()
		}
	}
	events := stop()
	got := tr.end()
	of := func(turns []turn) (all answers, median, late time.Duration) {
		for _, one := range turns {
			all = append(all, got.sent(one.from, one.to)...)
		}
		median, late = all.middling()
		return all, median, late
	}
	quiet, quietMedian, quietLate := of(without)
	busy, median, late := of(with)
	figure(t, row, "%d events; with nobody else, and with 3 clients that don't read: median %v and %v, 99th percentile %v and %v (%+.0f %%), of %d and %d requests; %d of %d failed",
		events, quietMedian, median, quietLate, late, 100*(float64(late)/float64(quietLate)-1), len(quiet), len(busy), got.failed(), len(got))
	if most := 2*quietMedian + 5*time.Millisecond; median > most {
		t.Errorf("the median was %v, with slow consumers %v", quietMedian, median)
	}
	if most := quietLate*11/10 + lateSlack; late > most {
		t.Errorf("the 99th percentile was %v, with slow consumers %v", quietLate, late)
	}
	if got.failed() > 0 {
		t.Errorf("%d of %d requests failed: %v", got.failed(), len(got), got.statuses())
	}
}

// lateSlack is added to the bound of a 99th percentile of about a millisecond, which a busy machine or the race detector make several.
const lateSlack = 20 * time.Millisecond

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

// changes makes events, 50 a second, until stop is called, which tells how many they were: an instance moves from one URL to another.
func (m *mesh) changes(t *testing.T, token string) (stop func() int) {
	ended, done, n := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ; ; n++ {
			select {
			case <-tick.C:
			case <-ended:
				return
			}
			in := obj{"id": "mover", "url": fmt.Sprintf("http://127.0.1.1:82/%d", n)}
			if a, err := ask(t.Context(), "PUT", m.URL+"/registry-svc/instance", token, in); err != nil || a.Status != http.StatusCreated {
				t.Errorf("move %d: %d, %v", n, a.Status, err)
			}
		}
	}()
	return func() int { close(ended); <-done; return n }
}
