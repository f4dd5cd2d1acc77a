package app

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/forwarder/service"
)

// maxTopics are those that the metric names; it says "other" of more.
const (
	maxTopics   = 100
	otherTopics = "other"
)

// meter counts for /metrics.
type meter struct {
	forwarded, failures *prometheus.CounterVec

	mu     sync.Mutex
	topics map[string]bool
}

var _ service.Meter = (*meter)(nil)

func newMeter() *meter {
	m := &meter{
		topics: map[string]bool{},
		forwarded: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mesh_forwarded_events_total", Help: "Events that the analytics service has taken.",
		}, []string{"topic"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mesh_forward_failures_total", Help: "Requests to the analytics service that have failed.",
		}, []string{"reason"}),
	}
	for _, reason := range service.Reasons() {
		m.failures.WithLabelValues(reason)
	}
	return m
}

// Forwarded implements service.Meter.
func (m *meter) Forwarded(topic string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.topics[topic] && len(m.topics) >= maxTopics {
		topic = otherTopics
	}
	m.topics[topic] = true
	m.forwarded.WithLabelValues(topic).Inc()
}

// Failed implements service.Meter.
func (m *meter) Failed(reason string) { m.failures.WithLabelValues(reason).Inc() }

// newBehind tells how long events wait that this process has.
func newBehind(oldest func() time.Time) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mesh_forward_oldest_seconds", Help: "Age of the oldest event that was not forwarded yet; 0 where there is none, or another process has it.",
	}, func() float64 {
		at := oldest()
		if at.IsZero() {
			return 0
		}
		return max(time.Since(at).Seconds(), 0) // clocks differ
	})
}
