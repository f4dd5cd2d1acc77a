package cli_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// terminal opens a pseudo terminal (pts(4)): the user's side, and the program's.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	var n, unlock int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &n} {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(arg))); e != 0 {
			t.Fatal(e)
		}
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// TestClosedTerminalEndsTheMesh runs `micro up` in a terminal, sends SIGHUP, and closes the terminal.
func TestClosedTerminalEndsTheMesh(t *testing.T) {
	master, slave := terminal(t)
	p := command(t, t.TempDir())
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() { p.waited <- p.cmd.Wait() }()
	_ = slave.Close()
	var out strings.Builder
	for buf := make([]byte, 4096); p.url == ""; {
		n, err := master.Read(buf)
		out.Write(buf[:n])
		if _, line, ok := strings.Cut(out.String(), "\nready "); ok {
			p.url, _, _ = strings.Cut(line, "\r")
		} else if err != nil {
			t.Fatalf("micro up ended: %v: %s", err, out.String())
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if status, _, err := p.call("GET", "/healthz", "", nil); err != nil || status != 200 {
		t.Fatalf("a signal while the terminal is there ended it: %d %v", status, err)
	}
	began := time.Now()
	if err := master.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(t); err != nil {
		t.Errorf("it ends with %v after %v", err, time.Since(began))
	}
}
