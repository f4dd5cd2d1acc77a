package cluster_test

import (
	"testing"

	"micromesh/internal/cluster"
)

func TestMain(m *testing.M) { cluster.Main(m) }

func TestClusterStartsAndRestarts(t *testing.T) {
	c := cluster.Start(t, cluster.Config{Replicas: map[string]int{"user": 2}})
	for _, name := range cluster.Services {
		for _, p := range c.Services[name] {
			p.Restart()
		}
	}
}
