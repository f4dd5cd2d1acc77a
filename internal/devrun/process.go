package devrun

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a service may take to end in order.
const grace = 20 * time.Second

// running is a process of a service.
type running struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once it has ended
	told  bool  // that it has
}

// start starts a process, in a group of its own: a Ctrl-C is for this program, which ends it in order.
func start(argv []string, dir string, cfg Config) (*running, error) {
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // what this program has built; stop ends it
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, cfg.Environ, cfg.Stdout, cfg.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the service: %w", err)
	}
	r := &running{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = cmd.Wait()
	}()
	return r, nil
}

// stop ends the process and waits until it has ended.
func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-r.ended:
	case <-time.After(grace):
		_ = r.cmd.Process.Signal(os.Kill) // as above
		<-r.ended
	}
}

// how tells how it has ended.
func (r *running) how() string {
	if r.err != nil {
		return r.err.Error()
	}
	return "exit status 0"
}
