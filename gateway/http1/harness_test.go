package http1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"micromesh/gateway/http1"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newServer starts a server, which the end of the test shuts down, and gives it with its address.
func newServer(t *testing.T, cfg http1.Config, h http1.HandlerFunc) (*http1.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newServerOn(t, ln, cfg, h), ln.Addr().String()
}

func newServerOn(t *testing.T, ln net.Listener, cfg http1.Config, h http1.HandlerFunc) *http1.Server {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	cfg.Handler = h
	srv, err := http1.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http1.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		serving.Wait()
	})
	return srv
}

// hello answers everything with 200.
func hello(x *http1.Exchange) { x.Respond(http.StatusOK, "text/plain", []byte("hello")) }

// peer is one end of a connection, with which raw bytes are sent and read. Reading gives up after a while.
type peer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func newPeer(t *testing.T, conn net.Conn) *peer {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{t, conn, bufio.NewReader(conn)}
}

// dial connects to an address, until the end of the test.
func dial(t *testing.T, addr string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return newPeer(t, conn)
}

// send sends bytes as they are.
func (p *peer) send(raw string) {
	p.t.Helper()
	if _, err := io.WriteString(p, raw); err != nil {
		p.t.Errorf("send: %v", err)
	}
}

// head reads a head, and gives it as it came.
func (p *peer) head() (string, error) {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := p.r.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return head.String(), err
		}
	}
	return head.String(), nil
}

// answer is an answer that was read whole.
type answer struct {
	*http.Response
	body string
}

// answer reads the answer to a GET request.
func (p *peer) answer() answer {
	p.t.Helper()
	return p.answerTo(http.MethodGet)
}

// answerTo reads the answer to a request with that method.
func (p *peer) answerTo(method string) answer {
	p.t.Helper()
	res, err := http.ReadResponse(p.r, &http.Request{Method: method})
	if err != nil {
		p.t.Fatalf("read the answer: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatalf("read the answer's body: %v", err)
	}
	return answer{res, string(body)}
}

// read reads n bytes.
func (p *peer) read(n int) string {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		p.t.Fatalf("read %d bytes: %v", n, err)
	}
	return string(b)
}

// closed checks that the connection ends, and that nothing comes before that.
func (p *peer) closed() {
	p.t.Helper()
	b, err := p.r.ReadByte()
	if err == nil {
		p.t.Errorf("got %q instead of the connection's end", b)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Error("the connection does not end")
	}
}

// rest reads all that comes until the connection ends, and how it did.
func (p *peer) rest() (string, error) {
	b, err := io.ReadAll(p.r)
	return string(b), err
}

// eventually waits until a condition is true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// wait receives from a channel.
func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: not after %v", what, patience)
		panic("unreachable")
	}
}
