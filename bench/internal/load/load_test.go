package load_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"micromesh/bench/internal/load"
)

// answerer answers each request with the same bytes.
func answerer(t *testing.T, answer string) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for buf := make([]byte, 1<<10); ; {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(conn, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func TestHTTPCountsCompleteAnswersAndRefusesOthers(t *testing.T) {
	for _, row := range []struct {
		name, answer string
		body         int
		failure      string // is in the error; none where it is empty
	}{
		{"any body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, ""},
		{"the body that is due", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-A: b\r\n\r\nhello", 5, ""},
		{"no body", "HTTP/1.1 200 OK\r\n\r\n", 0, ""},
		{"another body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 6, "has 5 bytes"},
		{"another status", "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 0, "502 Bad Gateway"},
		{"longer than it says", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello", 0, "longer than its head tells"},
		{"without an end", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 70_000), 0, "longer than 65536"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := load.HTTP{
				Address: answerer(t, row.answer), Conns: 2, Body: row.body,
				Request: func(int) []byte { return []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n") },
			}
			n, err := h.Run(t.Context(), 20*time.Millisecond)
			if row.failure == "" && (err != nil || n == 0) {
				t.Errorf("counted %d answers, %v", n, err)
			}
			if row.failure != "" && (err == nil || !strings.Contains(err.Error(), row.failure)) {
				t.Errorf("got the error %v, want one that says %q", err, row.failure)
			}
		})
	}
}

func TestEachCallerIsOpenedAndEnded(t *testing.T) {
	ended := make(chan int, 3)
	n, err := load.Run(t.Context(), 3, time.Millisecond, func(_ context.Context, i int) (func() error, func(), error) {
		return func() error { return nil }, func() { ended <- i }, nil
	})
	if err != nil || n == 0 || len(ended) != 3 {
		t.Errorf("%d calls, %d callers ended, %v", n, len(ended), err)
	}
}

func TestTheFirstErrorEndsALoad(t *testing.T) {
	broken := errors.New("broken")
	_, err := load.Run(t.Context(), 2, time.Hour, func(_ context.Context, i int) (func() error, func(), error) {
		return func() error {
			if i == 1 {
				return broken
			}
			return nil
		}, func() {}, nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
