package http1_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// TestWhoLeavesAsTheAnswerComes has clients close their connections at the moment when they are answered, again and again: what
// they leave behind fails nobody else's request.
func TestWhoLeavesAsTheAnswerComes(t *testing.T) {
	const (
		clients = 100
		rounds  = 6
		late    = 250 * time.Millisecond // by when the server watches for clients that leave
	)
	u := newUpstream(t, func(p *peer) {
		for {
			if _, err := p.head(); err != nil {
				return
			}
			time.Sleep(late)
			if _, err := io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	p := newProxy(t, to(u), proxyConfig{})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for range rounds {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Error(err)
					return
				}
				began := time.Now()
				_, _ = io.WriteString(c, get)
				early := time.Duration(i%20-10) * 100 * time.Microsecond
				_ = c.SetReadDeadline(began.Add(late + early))
				_, _ = io.ReadAll(io.LimitReader(c, 1))
				_ = c.Close()
			}
		})
	}
	all.Wait()
	for range clients * rounds {
		if o := p.outcome(t); o.Result != http1.Answered && o.Result != http1.ClientGone {
			t.Errorf("%v: %v", o.Result, o.Err)
		}
	}
}
