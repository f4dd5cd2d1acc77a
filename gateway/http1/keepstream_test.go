package http1_test

import (
	"sync/atomic"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// TestStreamEnds has answers that never end, with and without data, and a caller who may not receive more.
func TestStreamEnds(t *testing.T) {
	for name, more := range map[string]func(p *peer) error{
		"that is silent": func(*peer) error { return nil },
		"that goes on":   func(p *peer) error { _, err := p.Write([]byte("6\r\ndata\n\n\r\n")); return err },
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			up := newUpstream(t, func(p *peer) {
				_, _ = p.head()
				p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n: \n\r\n")
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						if more(p) != nil {
							return
						}
					}
				}
			})
			t.Cleanup(func() { close(stop) }) // before that of the upstream, which waits
			var may atomic.Bool
			may.Store(true)
			asked := make(chan struct{}, 1000)
			p := newProxy(t, to(up), proxyConfig{
				upstreams: http1.UpstreamsConfig{TunnelCheck: 20 * time.Millisecond},
				options: http1.ForwardOptions{KeepStream: func(*http1.Exchange) bool {
					select {
					case asked <- struct{}{}:
					default:
					}
					return may.Load()
				}},
			})
			c := dial(t, p.addr)
			c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			for range 3 {
				wait(t, "a look", asked)
			}
			may.Store(false)
			_, _ = c.rest() // it breaks
			if o := p.outcome(t); o.Result != http1.ClientGone {
				t.Errorf("outcome is %+v: the instance has done nothing wrong", o)
			}
		})
	}
}

// TestStreamThatIsKeptEndsWhenItIsSilentForTooLong sets a check interval that is shorter than the timeout of the stream.
func TestStreamThatIsKeptEndsWhenItIsSilentForTooLong(t *testing.T) {
	up := newUpstream(t, func(p *peer) {
		_, _ = p.head()
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1")
		_, _ = p.rest()
	})
	p := newProxy(t, to(up), proxyConfig{
		upstreams: http1.UpstreamsConfig{TunnelCheck: 20 * time.Millisecond},
		options:   http1.ForwardOptions{StreamTimeout: 300 * time.Millisecond, KeepStream: func(*http1.Exchange) bool { return true }},
	})
	c := dial(t, p.addr)
	began := time.Now()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	_, _ = c.rest() // it breaks
	if took := time.Since(began); took < 280*time.Millisecond {
		t.Errorf("it ended after %v", took)
	}
	if o := p.outcome(t); o.Result != http1.Broken {
		t.Errorf("outcome is %+v", o)
	}
}
