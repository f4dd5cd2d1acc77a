// Package child runs a measurement's own program again as child processes, each in a role, so that what is measured has a
// process, and with it CPU time and memory, to itself.
//
// A child says one line of JSON on its standard output when it is ready, and one for each line that it is given on its
// standard input from then on. It ends when that ends, so it doesn't outlive its parent.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"
)

const (
	ending    = 10 * time.Second // how long a process may take to end before it is killed
	beginning = 5 * time.Second  // how long another program may take until it listens
)

// Family is the processes of a measurement. Those that it has started run until it stops.
type Family struct{ members []*Process }

// Process is one that a Family has started.
type Process struct {
	cmd  *exec.Cmd
	stop context.CancelFunc
	in   io.WriteCloser
	out  *bufio.Reader
}

// Start runs this program with -role and args, and reads into hello what it says when it is ready.
func (f *Family) Start(ctx context.Context, role string, hello any, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := newProcess(ctx, self, append([]string{"-role", role}, args...)...)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.cmd.Cancel = p.in.Close
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := f.add(p); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if err := p.read(hello); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return p, nil
}

// StartOther runs another program, and waits until it listens at address. It is interrupted when it is to end.
func (f *Family) StartOther(ctx context.Context, address, path string, args ...string) (*Process, error) {
	p := newProcess(ctx, path, args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	if err := f.add(p); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	for deadline := time.Now().Add(beginning); ; time.Sleep(20 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return p, conn.Close()
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, fmt.Errorf("start %s: %w", path, err)
		}
	}
}

func newProcess(ctx context.Context, path string, args ...string) *Process {
	ctx, stop := context.WithCancel(ctx)
	p := &Process{cmd: exec.CommandContext(ctx, path, args...), stop: stop}
	p.cmd.Stderr = os.Stderr
	p.cmd.WaitDelay = ending
	return p
}

func (f *Family) add(p *Process) error {
	if err := p.cmd.Start(); err != nil {
		p.stop()
		return err
	}
	f.members = append(f.members, p)
	return nil
}

// Stop ends all processes, the last one first, and waits for them.
func (f *Family) Stop() {
	for _, p := range slices.Backward(f.members) {
		p.stop()
		_ = p.cmd.Wait() // it may have failed, which was reported where it mattered
	}
	f.members = nil
}

// Order gives the process a line, and reads its answer.
func (p *Process) Order(order string, answer any) error {
	if _, err := fmt.Fprintln(p.in, order); err != nil {
		return err
	}
	return p.read(answer)
}

func (p *Process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
