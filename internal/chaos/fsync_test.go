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
)

// failSyncs has all of a process's fsyncs fail, until it is told to end.
func failSyncs(t *testing.T, pid int) (end func()) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "there is no strace")
	}
	cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-p", strconv.Itoa(pid), "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
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
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		return err == nil && strings.Contains(string(b), "\nTracerPid:\t"+strconv.Itoa(cmd.Process.Pid)+"\n")
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
