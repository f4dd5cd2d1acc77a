package http1_test

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"micromesh/gateway/http1"
)

// TestAThousandSlowClients has a thousand clients that begin a request and never end it, in one of two ways. All of them are
// closed in time, and others are served meanwhile.
func TestAThousandSlowClients(t *testing.T) {
	const limit = 2 * time.Second
	_, addr := newServer(t, http1.Config{HeaderTimeout: limit, BodyTimeout: limit, WriteTimeout: limit}, func(x *http1.Exchange) {
		if _, err := x.ReadBody(1 << 20); err != nil {
			x.Refuse(err)
			return
		}
		x.Respond(http.StatusOK, "text/plain", []byte("served"))
	})
	ways := []string{
		"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
	}
	var wg sync.WaitGroup
	for i := range 1000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, ways[i%len(ways)]); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Error(err)
			}
			// What comes is a refusal, or nothing; then the end.
			if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
				t.Errorf("client %d is still connected", i)
			}
		})
	}
	p := dial(t, addr)
	for range 20 {
		p.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if a := p.answer(); a.body != "served" {
			t.Fatalf("meanwhile another got %q", a.body)
		}
	}
	wg.Wait()
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // of the connection itself
	return ok && e.Timeout()
}
