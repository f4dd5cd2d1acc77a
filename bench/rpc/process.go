package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// cast is the processes of a measurement.
type cast struct {
	servers []*process
	clients []*process
}

// process is this program in a role. It says one line when it is there, and a client one for each round.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// start starts all of them. What it gives is to be stopped even if there is an error.
func start(ctx context.Context, callers int) (*cast, error) {
	c := new(cast)
	for _, pair := range []struct {
		server  string
		clients [][2]string
	}{
		{"grpc-server", [][2]string{
			{"micromesh/pkg/rpc/client", "ours"}, {"the same, Raw", "ours-raw"}, {"go-micro client/grpc", "micro-grpc"},
		}},
		{"http-server", [][2]string{{"go-micro's default client and server", "micro-http"}}},
	} {
		server, address, err := spawn(ctx, pair.server, pair.server, "", callers)
		if err != nil {
			return c, err
		}
		c.servers = append(c.servers, server)
		for _, names := range pair.clients {
			client, _, err := spawn(ctx, names[0], names[1], address, callers)
			if err != nil {
				return c, err
			}
			c.clients = append(c.clients, client)
		}
	}
	return c, nil
}

func (c *cast) stop() {
	for _, p := range append(c.clients, c.servers...) {
		p.stop()
	}
}

func spawn(ctx context.Context, name, role, address string, callers int) (*process, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, self, "-role", role, "-address", address, "-callers", strconv.Itoa(callers))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start %s: %w", role, err)
	}
	p := &process{name: name, cmd: cmd, in: in, out: bufio.NewReader(out)}
	var hello string
	if err := p.read(&hello); err != nil {
		p.stop()
		return nil, "", fmt.Errorf("start %s: %w", role, err)
	}
	return p, hello, nil
}

// round lets a client call for a while.
func (p *process) round(d time.Duration) (result, error) {
	if _, err := fmt.Fprintln(p.in, d); err != nil {
		return result{}, err
	}
	var r result
	if err := p.read(&r); err != nil {
		return result{}, err
	}
	if r.Calls == 0 {
		return result{}, errors.New("no call was answered")
	}
	return r, nil
}

func (p *process) read(v any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// stop ends the process: it does when its input does.
func (p *process) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait() // it may have failed, which was reported where it mattered
}
