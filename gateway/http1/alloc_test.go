package http1_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"
)

// TestForwardingHardlyAllocates counts the allocations of all parts while requests with and without a body are forwarded.
// The client and the upstream make none.
func TestForwardingHardlyAllocates(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1024)
	answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n"), body...)
	requests := map[string][]byte{
		"GET":  []byte(lines("GET /a/b?c=d HTTP/1.1", "Host: a", "User-Agent: x", "Accept: */*", "Authorization: Bearer x")),
		"POST": append([]byte(lines("POST /a HTTP/1.1", "Host: a", "Content-Length: 1024")), body...),
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t, func(p *peer) {
				buf := make([]byte, 8<<10)
				for {
					if _, err := p.Read(buf); err != nil {
						return
					}
					if _, err := p.Write(answer); err != nil {
						return
					}
				}
			})
			p := newProxy(t, to(up), proxyConfig{})
			c := dial(t, p.addr)
			buf := make([]byte, 8<<10)
			ask := func() {
				if _, err := c.Write(request); err != nil {
					t.Fatal(err)
				}
				if n, err := io.ReadAtLeast(c.Conn, buf, len(answer)); err != nil || n < len(answer) {
					t.Fatalf("got %d bytes, %v", n, err)
				}
				<-p.outcomes
			}
			for range 100 {
				ask()
			}
			const requests = 2000
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range requests {
				ask()
			}
			runtime.ReadMemStats(&after)
			if per := float64(after.Mallocs-before.Mallocs) / requests; per > 1 {
				t.Errorf("%.2f allocations a request", per)
			} else {
				t.Logf("%.2f allocations a request", per)
			}
		})
	}
}
