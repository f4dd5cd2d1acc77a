//go:build chaos

package chaos_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/cluster"
)

// failSyncs has all fsyncs of processes fail, and of those that they start, until it is told to end.
func failSyncs(t *testing.T, pids ...int) (end func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "there is no strace")
	}
	cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	for _, pid := range pids {
		cmd.Args = append(cmd.Args, "-p", strconv.Itoa(pid))
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is interrupted
		close(done)
	}()
	end = func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended, with what it traced
		<-done
	}
	t.Cleanup(end)
	eventually(t, "strace is attached", patience, func() bool {
		for i, pid := range pids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if ended := err != nil && i > 0; ended { // as those that the first has started may
				continue
			}
			if err != nil || !strings.Contains(string(b), "\nTracerPid:\t"+strconv.Itoa(cmd.Process.Pid)+"\n") {
				return false
			}
		}
		return true
	})
	return end
}

// TestFsyncFails has the disk of a mesh of one process fail, then ends it as a power cut does, and looks for all accounts that
// were acknowledged.
func TestFsyncFails(t *testing.T) {
	const row = "fsync fails"
	dir := t.TempDir()
	m, cmd := playedMesh(t, dir)
	var acknowledged []string
	register := func(i int) int {
		slug := fmt.Sprintf("sync-%d", i)
		s := status(t, "POST", m.URL+"/user-svc/register", "", account(slug))
		if s == http.StatusOK {
			acknowledged = append(acknowledged, slug)
		}
		return s
	}
	for i := range 5 {
		register(i)
	}
	before := len(acknowledged)
	end := failSyncs(t, cmd.Process.Pid)
	answers := map[int]int{}
	for i := range 10 {
		answers[register(10+i)]++
	}
	falsely := len(acknowledged) - before
	end()
	back := eventually(t, "register again", patience, func() bool { return register(1000+len(acknowledged)) == http.StatusOK })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = cmd.Process.Wait() // it was killed
	m, _ = playedMesh(t, dir)
	for _, slug := range acknowledged {
		m.Login(t, slug, "password-of-"+slug)
	}
	figure(t, row, "10 writes answered %v; writes again after %v; all %d accounts that were acknowledged are there after a kill", answers, back.Round(time.Millisecond), len(acknowledged))
	if falsely > 0 || answers[http.StatusServiceUnavailable] == 0 {
		t.Errorf("%d writes were acknowledged while nothing reached the disk: %v", falsely, answers)
	}
}

// TestFsyncOfPostgresFails has the disk of the services' Postgres server fail, which ends it or its processes; then its power is cut.
func TestFsyncOfPostgresFails(t *testing.T) {
	const row = "fsync fails for Postgres"
	db, of := own(t, t.TempDir())
	m := start(t, cluster.Config{Of: of})
	l := begin(t, 50, m.URL+"/shop-svc/")
	acknowledged := m.registerSome(t, "before", 5)
	end := failSyncs(t, db.PIDs()...)
	falsely := m.registerSome(t, "meanwhile", 10)
	end()
	back := eventually(t, "register again", patience, func() bool {
		if !db.Running() { // as whoever supervises it would
			db.Start()
		}
		return len(m.registerSome(t, fmt.Sprint("after-", time.Now().UnixNano()), 1)) == 1
	})
	acknowledged = append(acknowledged, m.registerSome(t, "later", 5)...)
	db.Kill()
	db.Start()
	eventually(t, "sign in after the power cut", patience, func() bool { s, _ := m.signIn(t); return s == http.StatusOK })
	for _, slug := range acknowledged {
		m.Login(t, slug, "password-of-"+slug)
	}
	m.once(t, patience, acknowledged)
	figure(t, row, "%d of 10 writes acknowledged; writes again after %v; all %d accounts that were acknowledged are there after a power cut, with their events", len(falsely), back.Round(time.Millisecond), len(acknowledged))
	if len(falsely) > 0 || len(acknowledged) != 10 {
		t.Errorf("acknowledged while nothing reached the disk: %v; else: %v", falsely, acknowledged)
	}
	l.nothingLost(t, row)
}

// TestFsyncOfNATSFails has the disk of the NATS server fail; then its power is cut.
func TestFsyncOfNATSFails(t *testing.T) {
	const row = "fsync fails for NATS, a server of its own"
	dir := t.TempDir()
	m := start(t, cluster.Config{Store: dir})
	l := begin(t, 50, m.URL+"/shop-svc/")
	slugs := m.registerSome(t, "before", 5)
	m.once(t, patience, slugs)
	end := failSyncs(t, m.cluster.NATS.PID())
	slugs = append(slugs, m.registerSome(t, "meanwhile", 10)...)
	end()
	stop := supervise(t, m.cluster.NATS, dir)
	took := m.once(t, patience, slugs)
	stop()
	m.cluster.NATS.Kill()
	m.cluster.NATS.Start()
	m.cluster.AwaitReady()
	m.once(t, patience, slugs)
	figure(t, row, "%d of 10 accounts registered meanwhile; their events arrived after %v, and are there after a power cut", len(slugs)-5, took.Round(time.Millisecond))
	if len(slugs) != 15 {
		t.Errorf("%d of 15 accounts were registered", len(slugs))
	}
	l.nothingLost(t, row)
}
