package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/figure"
	"micromesh/bench/internal/load"
)

// request is what a browser might send, in short.
const request = "GET /basic-svc/hello?name=anna HTTP/1.1\r\nHost: localhost\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: application/json, text/plain, */*\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate\r\nCache-Control: no-cache\r\n\r\n"

// payload is the body of a POST, in bytes.
const payload = 1 << 10

// submission is a request as request is, with a body.
func submission() string {
	post := strings.Replace(request, "GET ", "POST ", 1)
	fields := "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(payload) + "\r\n\r\n"
	return strings.TrimSuffix(post, "\r\n") + fields + `"` + strings.Repeat("x", payload-2) + `"`
}

// stage is where the contenders stand.
type stage struct {
	family     *child.Family
	dir        string // for nginx's files
	conns      int
	request    string
	contenders []figure.Contender
}

// set starts the contenders, and tells out if one is missing.
func (s *stage) set(ctx context.Context, out io.Writer) error {
	var upstream string
	if _, err := s.family.Start(ctx, "upstream", &upstream); err != nil {
		return err
	}
	s.add(figure.Contender{Name: "none (direct)"}, upstream)
	for _, c := range []struct{ name, role, bound string }{
		{"micromesh gateway/http1", "http1", "30 µs"},
		{"net/http's ReverseProxy, tuned", "reverseproxy", ""},
	} {
		var address string
		p, err := s.family.Start(ctx, c.role, &address, "-upstream", upstream)
		if err != nil {
			return err
		}
		s.add(figure.Contender{Name: c.name, Bound: c.bound, CPU: p.CPU}, address)
	}
	path, err := exec.LookPath("nginx")
	if errors.Is(err, exec.ErrNotFound) {
		_, err := fmt.Fprintln(out, "nginx is not installed here: its row is left out")
		return err
	}
	if err != nil {
		return err
	}
	return s.addNginx(ctx, path, upstream)
}

func (s *stage) add(c figure.Contender, address string) {
	http := load.HTTP{Address: address, Conns: s.conns, Request: func(int) []byte { return []byte(s.request) }, Body: load.AnswerSize}
	c.Load = http.Run
	s.contenders = append(s.contenders, c)
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

// addNginx adds nginx with two workers and connections to the upstream that stay open.
func (s *stage) addNginx(ctx context.Context, path, upstream string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // finds a port that is free
	if err != nil {
		return err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return err
	}
	conf := filepath.Join(s.dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, s.dir, upstream, address), 0o600); err != nil {
		return err
	}
	p, err := s.family.StartOther(ctx, address, path, "-c", conf, "-p", s.dir)
	if err != nil {
		return err
	}
	s.add(figure.Contender{Name: "nginx, 2 workers", CPU: p.CPU}, address)
	return nil
}
