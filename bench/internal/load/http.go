package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	largest  = 64 << 10         // of the answers that are understood, in bytes
	patience = 10 * time.Second // for the last answers
)

// HTTP is HTTP/1.1 requests over connections that are kept. Any answer but 200, of the size that its head tells, is an error.
type HTTP struct {
	Address string
	Conns   int
	Request func(i int) []byte // what the i-th connection sends again and again
	Body    int                // the size of each answer's body; 0 if it may be any
}

// Run sends requests for a while, and counts the answers.
func (h HTTP) Run(ctx context.Context, d time.Duration) (int64, error) {
	deadline := time.Now().Add(d + patience)
	return Run(ctx, h.Conns, d, func(ctx context.Context, i int) (func() error, func(), error) {
		c, err := Dial(ctx, h.Address)
		if err != nil {
			return nil, nil, err
		}
		request := h.Request(i)
		ask := func() error { return c.Ask(request, http.StatusOK, h.Body) }
		return ask, func() { _ = c.Close() }, c.SetDeadline(deadline)
	})
}

// Conn is a connection that asks one request after another. It is for one goroutine.
type Conn struct {
	net.Conn
	buf []byte
}

// Dial opens a connection to "host:port".
func Dial(ctx context.Context, address string) (*Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: nc, buf: make([]byte, largest)}, nil
}

// Ask sends a request and reads its answer, which must have a status, and a body of a size, 0 for any.
func (c *Conn) Ask(request []byte, status, size int) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	head, body, n := 0, 0, 0
	for head == 0 || n < head+body {
		if n == len(c.buf) {
			return fmt.Errorf("the answer is longer than %d bytes", n)
		}
		k, err := c.Read(c.buf[n:])
		if err != nil {
			return err
		}
		if n += k; head == 0 {
			head, body = measure(c.buf[:n])
		}
	}
	switch {
	case !bytes.HasPrefix(c.buf, strconv.AppendInt([]byte("HTTP/1.1 "), int64(status), 10)):
		return fmt.Errorf("the answer is %q", c.buf[:n])
	case n > head+body:
		return errors.New("the answer is longer than its head tells")
	case size != 0 && size != body:
		return fmt.Errorf("the answer's body has %d bytes", body)
	}
	return nil
}

// measure tells how long the head of the answer in b is, 0 as long as it is not complete, and how long its body will be.
func measure(b []byte) (head, body int) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, 0
	}
	for line := range bytes.SplitSeq(b[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(": "))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			body, _ = strconv.Atoi(string(value)) // one that is no number shows as an answer that is too long
		}
	}
	return end + 4, body
}
