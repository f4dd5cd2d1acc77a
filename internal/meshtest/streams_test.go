package meshtest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestServerSentEventsComeWithoutDelay(t *testing.T) {
	s := newShop(t)
	next := make(chan string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for msg := range next {
			fmt.Fprintf(w, "data: %s\n\n", msg)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(srv.Close)
	tok := s.Register(t, "sse-svc")
	s.Do(t, "PUT", "/registry-svc/instance", tok, obj{"url": srv.URL}).Must(t, 201)
	go func() { next <- "first" }()
	rsp, err := http.DefaultClient.Do(s.request(t, "GET", "/sse-svc/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	lines := bufio.NewReader(rsp.Body)
	for _, msg := range []string{"first", "second", "third"} {
		if msg != "first" {
			next <- msg // only after the one before has arrived
		}
		line, err := lines.ReadString('\n')
		if err != nil || line != "data: "+msg+"\n" {
			t.Fatalf("read %q, %v; want %q", line, err, msg)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
}

func TestWebSocketIsTunnelled(t *testing.T) {
	s := newShop(t)
	tok := s.Register(t, "ws-svc")
	s.Do(t, "PUT", "/registry-svc/instance", tok, obj{"url": echo(t)}).Must(t, 201)
	host := strings.TrimPrefix(s.URL, "http://")
	dial := func(origin string) (net.Conn, *bufio.Reader, string) {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		head := "GET /ws-svc/ HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n"
		if origin != "" {
			head += "Origin: " + origin + "\r\n"
		}
		fmt.Fprint(c, head+"\r\n")
		r := bufio.NewReader(c)
		status, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return c, r, strings.TrimSpace(status)
	}
	c, r, status := dial("http://" + host)
	if status != "HTTP/1.1 101 Switching Protocols" {
		t.Fatalf("status is %q", status)
	}
	for line := "x"; strings.TrimSpace(line) != ""; {
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	frames := []byte("\x81\x85\x01\x02\x03\x04hello\x00\xff")
	if _, err := c.Write(frames); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(frames))
	if _, err := io.ReadFull(r, back); err != nil || !bytes.Equal(back, frames) {
		t.Errorf("%q came back as %q, %v", frames, back, err)
	}
	if _, _, status := dial("https://evil.example.com"); !strings.Contains(status, "403") {
		t.Errorf("a page of another origin got %q", status)
	}
	if _, _, status := dial("http://" + host + "\r\nOrigin: https://evil.example.com"); !strings.Contains(status, "403") {
		t.Errorf("a page of two origins got %q", status)
	}
	if _, _, status := dial("null"); !strings.Contains(status, "403") {
		t.Errorf("a page without an origin got %q", status)
	}
}
