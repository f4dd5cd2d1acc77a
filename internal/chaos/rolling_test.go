package chaos_test

import (
	"slices"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// TestRollingRestart restarts every process of a mesh with two replicas of each service, one after the other, while a known
// slug is asked for and a call of each service is made.
func TestRollingRestart(t *testing.T) {
	const row = "rolling restart of every process"
	m := start(t, cluster.Config{Replicas: map[string]int{"user": 2, "registry": 2, "proxy": 2, "gateway": 2}})
	gateways := func(path string) []string { return []string{m.cluster.Gateway(0) + path, m.cluster.Gateway(1) + path} }
	loads := map[string]*load{
		"known slugs":           begin(t, rollingRate*8/10, gateways("/shop-svc/")...),
		"calls of user-svc":     begin(t, rollingRate/10, gateways("/user-svc/public-key")...),
		"calls of registry-svc": begin(t, rollingRate/10, gateways("/registry-svc/echo?a=1")...),
	}
	began := time.Now()
	for range rollingRounds {
		m.cluster.NATS.Restart()
		m.cluster.AwaitReady()
		// The gateways come first: until their connections to NATS are back they don't hear of what starts and stops.
		for _, name := range slices.Backward(cluster.Services) {
			for _, p := range m.cluster.Services[name] {
				p.Stop()
				starting := "http://" + p.Address()
				for _, l := range loads {
					if p.Address() != "" {
						l.starting.Store(&starting)
					}
				}
				p.Start()
				p.AwaitReady()
				for _, l := range loads {
					l.starting.Store(nil)
				}
			}
		}
	}
	figure(t, row, "%d rounds of %d processes in %v", rollingRounds, 9, time.Since(began).Round(time.Second))
	for what, l := range loads {
		l.nothingLost(t, row+", "+what)
	}
}
