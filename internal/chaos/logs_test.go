package chaos_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// TestDiskIsFullForLogs fills the disk to which all processes log, each request and more.
func TestDiskIsFullForLogs(t *testing.T) {
	const row = "disk full for logs"
	dir := smallDisk(t, 8)
	m := start(t, cluster.Config{Logs: dir, Env: map[string]string{"MICRO_LOG": "debug"}})
	ballast := fill(t, dir)
	l := begin(t, 50, m.URL+"/shop-svc/")
	var slowest time.Duration
	for i := range 20 {
		began := time.Now()
		m.Do(t, "POST", "/user-svc/register", "", account(fmt.Sprintf("full-%d", i))).Must(t, http.StatusOK)
		m.Do(t, "PUT", "/registry-svc/instance", m.token, obj{"id": "other", "url": fmt.Sprintf("http://127.0.1.1:81/%d", i)}).Must(t, http.StatusCreated)
		m.Do(t, "POST", "/user-svc/self", m.token, obj{}).Must(t, http.StatusOK)
		slowest = max(slowest, time.Since(began))
	}
	m.cluster.NATS.Kill() // about which all of them have something to say
	slugs := m.registerSome(t, "meanwhile", 5)
	m.cluster.NATS.Start()
	m.cluster.AwaitReady()
	m.once(t, patience, slugs)
	for _, name := range cluster.Services {
		if name != "gateway" { // whose own requests would be lost
			m.cluster.Services[name][0].Restart()
		}
	}
	if len(slugs) != 5 {
		t.Errorf("%d of 5 accounts were registered while NATS was away", len(slugs))
	}
	figure(t, row, "20 rounds of two writes and a read: the slowest took %v", slowest.Round(time.Millisecond))
	l.nothingLost(t, row)
	stillFull(t, dir)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
}

// stillFull fails the test where a disk has room.
func stillFull(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 64<<10), 0o600); err == nil {
		t.Error("there is room on the disk")
	}
}
