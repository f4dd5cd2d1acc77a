package chaos_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// processorTime is what a process has used.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		missing(t, "this system doesn't tell what a process uses: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	var ticks int
	for _, f := range strings.Fields(rest)[11:13] { // utime and stime, proc(5)
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// limitFiles lets a process have so many files more than it has.
func limitFiles(t *testing.T, pid, more int) {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		missing(t, "this system doesn't tell which files a process has: %v", err)
	}
	set := fmt.Sprintf("--nofile=%d:", len(open)+more) // the soft limit alone
	if out, err := exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(pid), set).CombinedOutput(); err != nil {
		missing(t, "files can't be limited here: %v: %s", err, out)
	}
}

// TestGatewayIsOutOfFiles has clients take all the files that the gateway may open.
func TestGatewayIsOutOfFiles(t *testing.T) {
	const row = "out of file descriptors"
	m := start(t, cluster.Config{})
	pid := m.cluster.Services["gateway"][0].PID()
	limitFiles(t, pid, 40)
	var held []net.Conn
	for range 100 {
		c, err := net.DialTimeout("tcp", m.Addr(), time.Second)
		if err != nil {
			break // which is the refusal that may be
		}
		held = append(held, c)
	}
	used := processorTime(t, pid)
	hasty := http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	outcomes := map[string]int{}
	began := time.Now()
	for time.Since(began) < 3*time.Second {
		rsp, err := hasty.Get(m.URL + "/shop-svc/")
		if err != nil {
			outcomes["none"]++
			continue
		}
		_ = rsp.Body.Close()
		outcomes[rsp.Status]++
	}
	busy := processorTime(t, pid) - used
	for _, c := range held {
		_ = c.Close()
	}
	back := eventually(t, "requests are answered again", patience, func() bool {
		return status(t, "GET", m.URL+"/shop-svc/", "", nil) == http.StatusOK
	})
	figure(t, row, "while all were taken: %v, %v of processor time in 3 s; answers again after %v", outcomes, busy, back.Round(time.Millisecond))
	for what := range outcomes {
		if what != "none" && !strings.HasPrefix(what, "503") {
			t.Errorf("requests were answered with %s", what)
		}
	}
	if busy > 1500*time.Millisecond {
		t.Errorf("the gateway used %v of processor time in 3 s while it could do nothing", busy)
	}
}

// smallDisk mounts a file system in memory of so many megabytes.
func smallDisk(t *testing.T, megabytes int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	size := fmt.Sprintf("size=%dm", megabytes)
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", size, "tmpfs", dir).CombinedOutput(); err != nil {
		missing(t, "a small disk can't be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil { // by no context: the test's has ended
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fill leaves no room on a disk.
func fill(t *testing.T, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "ballast")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	return file
}

// tells looks whether an event of the last hour has a text in it.
func (m *mesh) tells(t *testing.T, topic, text string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", m.URL+"/gateway-svc/events?since=1h&topics="+topic, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.Admin(t))
	rsp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer rsp.Body.Close()
	for lines := bufio.NewScanner(rsp.Body); lines.Scan(); {
		if strings.Contains(lines.Text(), text) {
			return true
		}
	}
	return false
}

// TestDiskIsFull fills the disk that a mesh of one process has for its database and its events.
func TestDiskIsFull(t *testing.T) {
	const row = "disk full for the database and NATS"
	dir := smallDisk(t, 64)
	m, _ := playedMesh(t, dir)
	m.token = m.Register(t, "shop-svc")
	ballast := fill(t, dir)
	refused := 0
	for i := range 20 {
		a := m.Do(t, "POST", "/user-svc/register", "", account(fmt.Sprintf("full-%d", i)))
		if a.Status == http.StatusServiceUnavailable {
			refused++
		} else if a.Status != http.StatusOK {
			t.Errorf("register: %d %s", a.Status, a.Body)
		}
		m.Do(t, "POST", "/user-svc/self", m.token, obj{}).Must(t, http.StatusOK)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	back := eventually(t, "register again", patience, func() bool {
		return status(t, "POST", m.URL+"/user-svc/register", "", account("after")) == http.StatusOK
	})
	told := eventually(t, "an event tells of it", patience, func() bool { return m.tells(t, "accounts", `"slug":"after"`) })
	figure(t, row, "%d of 20 writes answered 503, all reads 200; writes again after %v, events %v later", refused, back.Round(time.Millisecond), told.Round(time.Millisecond))
	if refused == 0 {
		t.Error("all writes succeeded on a full disk")
	}
}
