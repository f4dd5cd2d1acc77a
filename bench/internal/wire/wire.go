// Package wire sends HTTP/1.1 requests for measurements: over connections that are kept, with nothing between them and
// the socket, so that a load costs little beside what it measures.
package wire

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Load sends requests over conns connections for a while, each as soon as the one before was answered, and counts the
// answers. The i-th connection sends request(i) again and again. Any answer but 200 ends it with an error.
func Load(ctx context.Context, address string, conns int, d time.Duration, request func(i int) []byte) (int64, error) {
	var answers atomic.Int64
	end := time.Now().Add(d)
	group, ctx := errgroup.WithContext(ctx)
	for i := range conns {
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
			n, err := ask(ctx, conn, end, request(i))
			answers.Add(n)
			return err
		})
	}
	err := group.Wait()
	return answers.Load(), err
}

func ask(ctx context.Context, conn net.Conn, end time.Time, request []byte) (answers int64, err error) {
	buf := make([]byte, 64<<10)
	for time.Now().Before(end) && ctx.Err() == nil {
		if _, err := conn.Write(request); err != nil {
			return answers, err
		}
		for n, want := 0, -1; want < 0 || n < want; {
			k, err := conn.Read(buf[n:])
			if err != nil {
				return answers, err
			}
			n += k
			if want < 0 {
				want = size(buf[:n])
			}
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
			return answers, fmt.Errorf("the answer is %q", buf[:bytes.IndexByte(buf, 0)])
		}
		answers++
	}
	return answers, nil
}

// size is how long the answer that begins in b is in all; -1 as long as its head is not complete.
func size(b []byte) int {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return -1
	}
	const name = "\r\ncontent-length: "
	i := bytes.Index(bytes.ToLower(b[:head]), []byte(name))
	if i < 0 {
		return head + 4
	}
	v := b[i+len(name):]
	n, err := strconv.Atoi(string(v[:bytes.IndexByte(v, '\r')]))
	if err != nil {
		return head + 4
	}
	return head + 4 + n
}
