package deploy_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/internal/cluster"
	"micromesh/internal/provision"
)

// TestNATSOfKubernetes runs the servers of each overlay with the configuration and the secrets that their pods have, and
// keeps a stream in as many copies as there are servers.
func TestNATSOfKubernetes(t *testing.T) {
	pods := []string{"nats-0.nats", "nats-1.nats", "nats-2.nats"}
	for overlay, row := range map[string]struct {
		clusterConf string
		servers     int
	}{
		"small":      {"kubernetes/base/cluster.conf", 1},
		"replicated": {"kubernetes/overlays/replicated/cluster.conf", 3},
	} {
		t.Run(overlay, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := provision.Secrets(provision.Config{Dir: dir, NATSHosts: pods}); err != nil {
				t.Fatal(err)
			}
			routes := map[string]string{} // where each pod listens for the others
			for _, p := range pods {
				routes[p] = cluster.FreeAddress(t)
			}
			var servers []*server.Server
			for _, pod := range pods[:row.servers] {
				servers = append(servers, startNATS(t, dir, pod, row.clusterConf, routes))
			}
			keep(t, dir, servers[0].ClientURL(), row.servers)
		})
	}
}

// startNATS starts the server of a pod. It differs from the pod's in its addresses and folders alone.
func startNATS(t *testing.T, secrets, pod, clusterConf string, routes map[string]string) *server.Server {
	t.Helper()
	dir := t.TempDir()
	change := []string{
		"$NATS_NAME", pod, "/etc/nats/secrets", filepath.Join(dir, "secrets"), "store_dir: /data", "store_dir: " + filepath.Join(dir, "data"),
		"0.0.0.0:4222", "127.0.0.1:-1", "0.0.0.0:6222", routes[pod], "0.0.0.0:8222", "127.0.0.1:-1", "@nats:6222", "@" + routes["nats-0.nats"],
	}
	for name, address := range routes {
		change = append(change, "@"+name+":6222", "@"+address)
	}
	files := map[string]string{"config/nats.conf": "kubernetes/base/nats.conf", "config/cluster.conf": clusterConf}
	for _, name := range []string{"ca.pem", "cert.pem", "key.pem", "users.conf", "routes.conf"} { // of the Secret
		files["secrets/"+name] = filepath.Join(secrets, "nats", name)
	}
	for to, from := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(dir, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(strings.NewReplacer(change...).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(filepath.Join(dir, "config", "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatalf("%s does not listen", pod)
	}
	return srv
}

// keep connects as the operators do, and waits until a stream can have so many copies.
func keep(t *testing.T, secrets, address string, copies int) {
	t.Helper()
	password, err := os.ReadFile(filepath.Join(secrets, "admin", "nats.password"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(secrets, "gateway-svc", name) }
	nc, err := nats.Connect("tls://127.0.0.1:"+port, nats.UserInfo("admin", strings.TrimSpace(string(password))), nats.RootCAs(file("ca.pem")),
		nats.ClientCert(file("cert.pem"), file("key.pem")), nats.RetryOnFailedConnect(true), nats.ReconnectWait(50*time.Millisecond), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept"}, Replicas: copies})
		if err == nil {
			got := fmt.Sprint(s.CachedInfo().Config.Replicas)
			if _, err := js.Publish(t.Context(), "kept", nil); err != nil || got != fmt.Sprint(copies) {
				t.Fatalf("%s copies, want %d: %v", got, copies, err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
