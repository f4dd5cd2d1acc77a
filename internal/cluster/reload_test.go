package cluster_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// TestGatewayReadsRoutesAgainOnHangup edits the routes.yaml of a gateway's process in place, and sends SIGHUP.
func TestGatewayReadsRoutesAgainOnHangup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	write := func(path string) {
		if err := os.WriteFile(file, []byte("version: 1\nroutes: [{path: "+path+", method: PUT, proxy_upstream: x-svc, auth_required: true}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("/one")
	c := cluster.Start(t, cluster.Config{Of: map[string]map[string]string{"gateway": {"MICRO_ROUTES": file, "MICRO_ROUTES_SETTLE": "1h"}}})
	gateway := c.Services["gateway"][0]
	is := func(path string) bool { // a route describes it
		rsp, err := http.Get(c.Gateway(0) + path)
		if err != nil {
			t.Fatalf("the gateway doesn't answer: %v: %s", err, gateway.Log())
		}
		_ = rsp.Body.Close()
		return rsp.StatusCode == http.StatusMethodNotAllowed
	}
	if !is("/one") {
		t.Fatal("the file is not in force")
	}
	write("/two")
	gateway.Signal(syscall.SIGHUP)
	for deadline := time.Now().Add(30 * time.Second); !is("/two") || is("/one"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the file was not read again: %s", gateway.Log())
		}
	}
	if log := gateway.WholeLog(); !strings.Contains(log, "routes_guard_removed") || !strings.Contains(log, "path=/one line=2") {
		t.Errorf("the guard that is gone is not logged: %s", log)
	}
}
