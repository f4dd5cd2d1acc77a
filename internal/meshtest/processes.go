package meshtest

import (
	"cmp"
	"context"
	"maps"
	"os"
	"strconv"
	"sync"
	"testing"

	"micromesh/gateway/routes"
	"micromesh/internal/cluster"
	"micromesh/internal/mesh"
	"micromesh/pkg/config"
)

// Play plays the role of a process of a mesh where this program was started as one. TestMain calls it first.
func Play() { cluster.Play() }

// Main is the TestMain of packages that need no other.
func Main(m *testing.M) { cluster.Main(m) }

// clusters are the meshes of processes by the folder that they were asked for: one that is started in the same folder again
// has the data of the one before.
var clusters sync.Map // folder → *cluster.Cluster

// replicas are those of each service but the gateway, of which a test speaks to one: MESHTEST_REPLICAS, or 1.
func replicas(t testing.TB) map[string]int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("MESHTEST_REPLICAS"), "1"))
	if err != nil {
		t.Fatalf("MESHTEST_REPLICAS: %v", err)
	}
	return map[string]int{"user": n, "registry": n, "proxy": n}
}

// named are the variables of this process that a routes.yaml names. Processes of a cluster inherit none.
func named(t testing.TB, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	_, err = routes.Parse(file, text, func(name string) (string, bool) {
		value, set := os.LookupEnv(name)
		if set {
			env[name] = value
		}
		return value, set
	})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// startProcesses starts a mesh of processes with the same settings as one in a single process would have.
func startProcesses(t testing.TB, cfg mesh.Config) *Mesh {
	t.Helper()
	for _, networks := range []*[]string{&cfg.Gateway.InstanceNetworks, &cfg.Registry.InstanceNetworks} {
		if len(*networks) == 0 {
			*networks = cluster.InstanceNetworks()
		}
	}
	of := map[string]map[string]string{
		"user": config.Format(&cfg.User), "registry": config.Format(&cfg.Registry), "proxy": config.Format(&cfg.Proxy), "gateway": config.Format(&cfg.Gateway),
	}
	if cfg.Forwarder.Target != "" {
		of["forwarder"] = config.Format(&cfg.Forwarder)
	}
	if cfg.Gateway.Listen == "127.0.0.1:0" {
		delete(of["gateway"], "MICRO_LISTEN")
	}
	if cfg.Gateway.EdgeListen == "127.0.0.1:0" {
		of["gateway"]["MICRO_EDGE_LISTEN"] = cluster.FreeAddress(t)
	}
	if cfg.Gateway.Routes != "" {
		maps.Copy(of["gateway"], named(t, cfg.Gateway.Routes))
	}
	for _, env := range of { // all processes must agree
		maps.Copy(env, map[string]string{
			"MICRO_TOKEN_AUTO_REFRESH": of["user"]["MICRO_TOKEN_AUTO_REFRESH"], "MICRO_SESSION_LIFE": of["user"]["MICRO_SESSION_LIFE"], "MICRO_LOG": "warn",
		})
	}
	var c *cluster.Cluster
	if known, ok := clusters.Load(cfg.Dir); ok {
		c = known.(*cluster.Cluster)
		c.Configure(of)
		c.StartAll()
	} else {
		c = cluster.Start(t, cluster.Config{Of: of, Replicas: replicas(t)})
		clusters.Store(cfg.Dir, c)
	}
	m := &Mesh{URL: c.Gateway(0), Host: c.Host(context.WithoutCancel(t.Context())), stop: c.StopAll, identity: c.Identity}
	if a := of["gateway"]["MICRO_EDGE_LISTEN"]; a != "" {
		m.EdgeURL = "http://" + a
	}
	return m
}
