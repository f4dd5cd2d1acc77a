//go:build chaos && !race

package chaos_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// limitMemory puts a process into a group of its own that may have so many bytes.
func limitMemory(t *testing.T, pid, most int) {
	t.Helper()
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} { // version 1 and 2
		dir := filepath.Join(root, "micromesh-chaos-"+strconv.Itoa(pid))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600) // it may have ended
			if err := os.Remove(dir); err != nil {
				t.Errorf("the group is still there: %v", err)
			}
		})
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(most)), 0o600) == nil &&
			os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600) == nil {
			return
		}
	}
	missing(t, "memory can't be limited here")
}

// TestGatewayHasLittleMemory has 300 clients send it bodies that are larger than all its memory together.
func TestGatewayHasLittleMemory(t *testing.T) {
	const row = "memory limit 128 MB"
	m := start(t, cluster.Config{})
	gateway := m.cluster.Services["gateway"][0]
	limitMemory(t, gateway.PID(), 128<<20)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 300}}
	defer client.CloseIdleConnections()
	body := bytes.Repeat([]byte("x"), 1<<20)
	var good, other, none atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range 300 {
		wg.Go(func() {
			for time.Since(began) < 10*time.Second {
				rsp, err := client.Post(m.URL+"/shop-svc/", "application/octet-stream", bytes.NewReader(body))
				switch {
				case err != nil:
					none.Add(1)
					continue
				case rsp.StatusCode == http.StatusOK:
					good.Add(1)
				default:
					other.Add(1)
				}
				_ = rsp.Body.Close()
			}
		})
	}
	wg.Wait()
	figure(t, row, "%d bodies of 1 MiB answered, %d refused, %d without an answer in 10 s, by 300 clients", good.Load(), other.Load(), none.Load())
	if !gateway.Running() {
		t.Fatalf("the gateway was killed: %s", gateway.Log())
	}
	eventually(t, "requests are answered", patience, func() bool { return status(t, "GET", m.URL+"/shop-svc/", "", nil) == http.StatusOK })
	if good.Load() == 0 {
		t.Error("it answered nothing")
	}
}
