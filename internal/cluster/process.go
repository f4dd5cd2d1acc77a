package cluster

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

const (
	patience = 60 * time.Second      // with a process that starts or ends, on a machine that is busy
	pause    = 10 * time.Millisecond // between looks
	roleEnv  = "MICROMESH_TEST_ROLE"
)

// Process is one of a cluster. It can be started again after it has ended, with the same settings.
type Process struct {
	Name string

	tb      testing.TB
	role    string
	env     map[string]string
	enter   []string // command that runs it elsewhere
	log     string   // file of its standard error
	health  string   // address
	address string   // of what it serves to clients, where it does

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, once done is closed
}

// Start starts the process. It doesn't wait until it is ready.
func (p *Process) Start() {
	p.tb.Helper()
	self, err := os.Executable()
	if err != nil {
		p.tb.Fatal(err)
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer log.Close()
	line := append(slices.Clone(p.enter), self)
	p.cmd = exec.CommandContext(context.Background(), line[0], line[1:]...) //nolint:gosec // this program itself
	p.cmd.Env = []string{roleEnv + "=" + p.role, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=atexit_sleep_ms=0"}
	for k, v := range p.env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.done = make(chan struct{})
	if err := start(p.cmd); err != nil {
		p.tb.Fatalf("start %s: %v", p.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if p.health == "" {
		p.awaitPort()
	}
}

// Env are the settings that the process is started with.
func (p *Process) Env() map[string]string { return maps.Clone(p.env) }

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Address is "host:port" of what the process serves to clients.
func (p *Process) Address() string { return p.address }

// Health is "host:port" of its health checks.
func (p *Process) Health() string { return p.health }

// Data is the folder of what a gateway keeps.
func (p *Process) Data() string { return p.env["MICRO_GATEWAY_DATA"] }

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.tb.Fatalf("%s to %s: %v", s, p.Name, err)
	}
}

// Kill ends the process as a power cut does, and waits until it is gone.
func (p *Process) Kill() {
	p.tb.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop tells the process to end, and waits until it has, without an error.
func (p *Process) Stop() {
	p.tb.Helper()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		p.tb.Fatalf("%s did not end in time: %s", p.Name, p.Log())
	}
	if p.err != nil {
		p.tb.Errorf("%s ended with %v: %s", p.Name, p.err, p.Log())
	}
}

// Restart stops the process, starts it again, and waits until it is ready.
func (p *Process) Restart() {
	p.tb.Helper()
	p.Stop()
	p.Start()
	p.AwaitReady()
}

// Running tells whether it was started and has not ended.
func (p *Process) Running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// AwaitReady waits until the process says that it can do its work.
func (p *Process) AwaitReady() {
	p.tb.Helper()
	if !p.Running() || p.health == "" {
		return
	}
	p.await("ready", func() bool { return p.Ready() == nil })
}

// Ready asks the process whether it can do its work.
func (p *Process) Ready() error { return get("http://" + p.health + "/readyz") }

// get asks for a URL, and gives what was answered as an error unless that was 200.
func get(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		var b bytes.Buffer
		_, _ = b.ReadFrom(rsp.Body) // the status says enough
		return errors.New(b.String())
	}
	return nil
}

// awaitPort waits until something accepts connections at the process's address.
func (p *Process) awaitPort() {
	p.tb.Helper()
	p.await("listening", func() bool {
		dialer := net.Dialer{Timeout: time.Second}
		conn, err := dialer.DialContext(context.Background(), "tcp", p.address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

func (p *Process) await(what string, cond func() bool) {
	p.tb.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(pause) {
		if !p.Running() {
			p.tb.Fatalf("%s ended before it was %s (%v): %s", p.Name, what, p.err, p.Log())
		}
		if time.Now().After(deadline) {
			p.tb.Fatalf("%s was not %s in time: %s", p.Name, what, p.Log())
		}
	}
}

// Log is what the process has logged, the last of it.
func (p *Process) Log() string {
	s := p.WholeLog()
	return s[max(0, len(s)-4000):]
}

// WholeLog is all that the process has logged, in all its lives.
func (p *Process) WholeLog() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// end ends the process with its test.
func (p *Process) end() {
	if !p.Running() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped
	_ = p.cmd.Process.Kill()
	<-p.done
	if p.tb.Failed() {
		p.tb.Logf("%s logged: %s", p.Name, p.Log())
	}
}
