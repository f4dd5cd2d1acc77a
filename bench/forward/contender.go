package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is how many of the units of /proc/PID/stat a second has, on all architectures that Go runs Linux on.
const ticks = 100

// contender is a process that answers at an address.
type contender struct {
	name    string
	address string
	proxy   bool
	cmd     *exec.Cmd
	dir     string // to be removed
}

// start starts all of them. Those that it gives are to be stopped, even if there is an error.
func start(ctx context.Context) ([]*contender, error) {
	direct, err := spawn(ctx, "none (direct)", "upstream", "")
	if err != nil {
		return nil, err
	}
	all := []*contender{direct}
	for _, p := range []struct{ name, role string }{
		{"micromesh gateway/http1", "http1"},
		{"net/http ReverseProxy, tuned", "reverseproxy"},
	} {
		c, err := spawn(ctx, p.name, p.role, direct.address)
		if err != nil {
			return all, err
		}
		c.proxy = true
		all = append(all, c)
	}
	path, err := exec.LookPath("nginx")
	if errors.Is(err, exec.ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return all, err
	}
	c, err := nginx(ctx, path, direct.address)
	if c != nil {
		all = append(all, c)
	}
	return all, err
}

// spawn starts this program in a role; it tells its address on its standard output.
func spawn(ctx context.Context, name, role, upstream string) (*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-role", role, "-upstream", upstream)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c := &contender{name: name, cmd: cmd}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.address = strings.TrimSpace(line)
	return c, nil
}

const nginxConf = `
worker_processes 2;
daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f;
	uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	keepalive_requests 100000000;
	upstream up { server %[2]s; keepalive 256; keepalive_requests 100000000; }
	server {
		listen %[3]s;
		location / {
			proxy_pass http://up;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-For $remote_addr;
		}
	}
}
`

// nginx starts nginx with two workers and connections to the upstream that stay open.
func nginx(ctx context.Context, path, upstream string) (*contender, error) {
	dir, err := os.MkdirTemp("", "forward")
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0") // finds a port that is free
	if err != nil {
		return nil, err
	}
	c := &contender{name: "nginx, 2 workers", address: ln.Addr().String(), proxy: true, dir: dir}
	if err := ln.Close(); err != nil {
		return c, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, upstream, c.address), 0o600); err != nil {
		return c, err
	}
	c.cmd = exec.CommandContext(ctx, path, "-c", conf, "-p", dir)
	if err := c.cmd.Start(); err != nil {
		return c, fmt.Errorf("start nginx: %w", err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.address)
		if err == nil {
			return c, conn.Close()
		}
		if time.Now().After(deadline) {
			return c, fmt.Errorf("start nginx: %w", err)
		}
	}
}

// stop ends the process and waits for it.
func (c *contender) stop() {
	if c.cmd != nil && c.cmd.Process != nil {
		_ = c.cmd.Process.Signal(os.Interrupt)
		_ = c.cmd.Wait()
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// cpu is the CPU time that the process and its children have taken.
func (c *contender) cpu() (time.Duration, error) {
	pid := c.cmd.Process.Pid
	sum, err := cpuOf(strconv.Itoa(pid))
	if err != nil {
		return 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, child := range strings.Fields(string(children)) {
		d, err := cpuOf(child)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// cpuOf reads utime and stime, the 14th and 15th fields of /proc/PID/stat.
func cpuOf(pid string) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(stat), ") ") // behind the command, which may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, errors.New("read CPU time: /proc/PID/stat has another form than expected")
	}
	var sum int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}
