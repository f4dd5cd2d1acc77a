package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// request is what a browser might send, in short.
const request = "GET /basic-svc/hello?name=anna HTTP/1.1\r\nHost: localhost\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: application/json, text/plain, */*\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\nAccept-Encoding: gzip, deflate\r\nCache-Control: no-cache\r\n\r\n"

// load sends requests over that many connections, each as soon as the last was answered, and counts the answers.
func load(ctx context.Context, address string, conns int, d time.Duration) (int64, error) {
	var answers atomic.Int64
	end := time.Now().Add(d)
	group, ctx := errgroup.WithContext(ctx)
	for range conns {
		group.Go(func() error {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.SetDeadline(end.Add(10 * time.Second)); err != nil {
				return err
			}
			n, err := ask(ctx, conn, end)
			answers.Add(n)
			return err
		})
	}
	err := group.Wait()
	return answers.Load(), err
}

// ask asks until the end, and checks that each answer is complete.
func ask(ctx context.Context, conn net.Conn, end time.Time) (int64, error) {
	buf := make([]byte, 8<<10)
	var answers int64
	for time.Now().Before(end) && ctx.Err() == nil {
		if _, err := conn.Write([]byte(request)); err != nil {
			return answers, err
		}
		for n, want := 0, -1; want < 0 || n < want; {
			k, err := conn.Read(buf[n:])
			if err != nil {
				return answers, err
			}
			n += k
			if head := bytes.Index(buf[:n], []byte("\r\n\r\n")); want < 0 && head >= 0 {
				want = head + 4 + answerSize
			}
			if n > want && want > 0 {
				return answers, errors.New("the answer is longer than it should be")
			}
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
			return answers, fmt.Errorf("the answer starts with %q", buf[:32])
		}
		answers++
	}
	return answers, nil
}
