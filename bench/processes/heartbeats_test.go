package processes_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"micromesh/bench/internal/load"
	"micromesh/internal/cluster"
)

const (
	fleet    = 10_000          // instances, of ten services
	every    = 3 * time.Second // an instance beats
	beating  = 30 * time.Second
	mostBusy = 16 // connections; one that is late is late for the beats behind it too
)

// BenchmarkHeartbeats registers 10,000 instances and lets each beat every 3 s for half a minute, through the gateway. A beat takes from the
// moment when it is due to its answer.
func BenchmarkHeartbeats(b *testing.B) {
	m := start(b, cluster.Config{})
	port := m.listen()
	requests := make([][]byte, fleet)
	for i := range requests {
		body := fmt.Sprintf(`{"slug":"svc-%d","url":"http://127.1.%d.%d:%d"}`, i%10, i/250, i%250+1, port)
		requests[i] = fmt.Appendf(nil, "PUT /registry-svc/instance HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", m.token, len(body), body)
	}
	for b.Loop() {
		began := time.Now()
		m.send(callers, func(n int) ([]byte, time.Time, bool) {
			return requests[n%fleet], time.Now(), n < fleet
		})
		b.ReportMetric(time.Since(began).Seconds(), "registered-s")
		before := m.cpu()
		start, gap := time.Now(), every/fleet
		took := m.send(mostBusy, func(n int) ([]byte, time.Time, bool) {
			due := start.Add(time.Duration(n) * gap)
			return requests[n%fleet], due, due.Sub(start) < beating
		})
		passed := time.Since(start)
		m.report(before, len(took))
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(len(took))/passed.Seconds(), "beats/s")
		var list struct{ Instances []struct{ Slug string } }
		m.must(http.StatusOK, "GET", "/registry-svc/instances?scheme=http", nil, &list)
		left := 0
		for _, i := range list.Instances {
			if strings.HasPrefix(i.Slug, "svc-") { // the gateway is one too
				left++
			}
		}
		b.ReportMetric(float64(fleet-left), "lost")
	}
}

// send sends what next gives, each as soon as it is due, over so many connections, and gives how long the answers took since.
func (m *mesh) send(conns int, next func(n int) (request []byte, due time.Time, more bool)) []time.Duration {
	m.b.Helper()
	var count atomic.Int64
	took := make([][]time.Duration, conns)
	g, ctx := errgroup.WithContext(context.WithoutCancel(m.b.Context()))
	for i := range conns {
		g.Go(func() error {
			c, err := load.Dial(ctx, m.Services["gateway"][0].Address())
			if err != nil {
				return err
			}
			defer c.Close()
			for {
				request, due, more := next(int(count.Add(1) - 1))
				if !more {
					return nil
				}
				time.Sleep(time.Until(due))
				if err := c.Ask(request, http.StatusCreated, 0); err != nil {
					return err
				}
				took[i] = append(took[i], time.Since(due))
			}
		})
	}
	if err := g.Wait(); err != nil {
		m.b.Fatal(err)
	}
	return slices.Concat(took...)
}
