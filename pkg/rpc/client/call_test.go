package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mclient "go-micro.dev/v5/client"
	"go-micro.dev/v5/metadata"
	gmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
	"micromesh/pkg/rpc/client"
)

// say calls Echo.Say.
func say(ctx context.Context, c mclient.Client, service string, value []byte, opts ...mclient.CallOption) ([]byte, error) {
	var out wrapperspb.BytesValue
	err := c.Call(ctx, c.NewRequest(service, "Echo.Say", wrapperspb.Bytes(value)), &out, opts...)
	return out.GetValue(), err
}

func TestCall(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", new(Echo))
	c := m.client(client.Config{})
	for name, size := range map[string]int{"nothing": 0, "little": 10, "pooled": 5 << 10, "5 MiB": 5 << 20} {
		t.Run(name, func(t *testing.T) {
			want := bytes.Repeat([]byte("x"), size)
			got, err := say(t.Context(), c, "echo", want)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	t.Run("more than fits", func(t *testing.T) {
		if _, err := say(t.Context(), c, "echo", make([]byte, client.MaxMessage+1)); !errs.Is(err, errs.TooLarge) {
			t.Errorf("got %v, want TooLarge", err)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		req := c.NewRequest("echo", "Echo.Say", wrapperspb.Bytes([]byte("hi")), mclient.WithContentType("application/json"))
		var out wrapperspb.BytesValue
		if err := c.Call(t.Context(), req, &out); err != nil || string(out.GetValue()) != "hi" {
			t.Errorf("got %q, %v", out.GetValue(), err)
		}
	})
	t.Run("an address", func(t *testing.T) {
		got, err := say(t.Context(), c, "anything", []byte("hi"), mclient.WithAddress(m.reg.Lookup("echo").Nodes[0].Address))
		if err != nil || string(got) != "hi" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestRaw(t *testing.T) {
	m := newMesh(t)
	echo := &Echo{seen: make(chan metadata.Metadata, 1)}
	m.serve("echo", "1", echo)
	c := m.client(client.Config{})
	ctx := metadata.NewContext(t.Context(), metadata.Metadata{"authorization": "not this"})
	got, _, err := c.Raw(ctx, "echo", "Echo.Say", "json", []byte(`"aGk="`), gmetadata.MD{"X-User": {"u"}, "bad": {"a\r\nb"}})
	if err != nil || string(got) != `"aGk="` {
		t.Errorf("got %s, %v", got, err)
	}
	md := <-echo.seen
	if md["x-user"] != "u" || md["authorization"] != "" || md["bad"] != "" {
		t.Errorf("the service saw %v", md)
	}
	if _, _, err := c.Raw(ctx, "echo", "Echo.Say", "xml", nil, nil); !errs.Is(err, errs.Unsupported) {
		t.Errorf("got %v, want Unsupported", err)
	}
}

func TestOnlyTheAllowListTravels(t *testing.T) {
	m := newMesh(t)
	echo := &Echo{seen: make(chan metadata.Metadata, 1)}
	m.serve("echo", "1", echo)
	c := m.client(client.Config{})
	ctx := metadata.NewContext(t.Context(), metadata.Metadata{
		"Authorization": "Bearer t", "Traceparent": "00-a", "tracestate": "s", "X-Request-Id": "r", "baggage": "b=1",
		"Cookie": "secret", "x-user-id": "root", "Micro-Endpoint": "Admin.Do", "timeout": "1", "Remote": "1.2.3.4", ":path": "/x",
		"authorization\r\n": "x",
	})
	ctx = gmetadata.AppendToOutgoingContext(ctx, "x-roles", "admin")
	if _, err := say(ctx, c, "echo", nil); err != nil {
		t.Fatal(err)
	}
	got := <-echo.seen
	for _, k := range []string{":authority", "content-type", "user-agent", "Remote", "grpc-accept-encoding"} {
		delete(got, k) // the transport's own
	}
	want := metadata.Metadata{"authorization": "Bearer t", "traceparent": "00-a", "tracestate": "s", "x-request-id": "r", "baggage": "b=1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata differs (-want +got):\n%s", diff)
	}
	// A value that can't travel is left out instead of failing the call.
	ctx = metadata.NewContext(t.Context(), metadata.Metadata{"baggage": "ü", "tracestate": "a\nb"})
	if _, err := say(ctx, c, "echo", nil); err != nil {
		t.Fatal(err)
	}
	if got := <-echo.seen; got["baggage"] != "" || got["tracestate"] != "" {
		t.Errorf("the service saw %v", got)
	}
}

func TestCancellationReachesTheHandler(t *testing.T) {
	m := newMesh(t)
	echo := &Echo{started: make(chan struct{}, 1), ended: make(chan error, 1)}
	m.serve("echo", "1", echo)
	c := m.client(client.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Call(ctx, c.NewRequest("echo", "Echo.Wait", wrapperspb.Bytes(nil)), new(wrapperspb.BytesValue))
	}()
	<-echo.started
	cancel()
	if err := <-echo.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler ended with %v", err)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", new(Echo))
	c := m.client(client.Config{Timeout: 3 * time.Second})
	left := func(ctx context.Context, opts ...mclient.CallOption) time.Duration {
		t.Helper()
		var out wrapperspb.Int64Value
		if err := c.Call(ctx, c.NewRequest("echo", "Echo.Deadline", wrapperspb.Bytes(nil)), &out, opts...); err != nil {
			t.Fatal(err)
		}
		return time.Duration(out.GetValue()) * time.Millisecond
	}
	long, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		opts []mclient.CallOption
		want time.Duration
	}{
		"the default":              {t.Context(), nil, 3 * time.Second},
		"the context's":            {long, nil, time.Minute},
		"the option's":             {t.Context(), []mclient.CallOption{mclient.WithRequestTimeout(20 * time.Second)}, 20 * time.Second},
		"the option's, as shorter": {long, []mclient.CallOption{mclient.WithRequestTimeout(20 * time.Second)}, 20 * time.Second},
	} {
		if got := left(c.ctx, c.opts...); got > c.want || got < c.want-2*time.Second {
			t.Errorf("%s: the handler has %v left, want %v", name, got, c.want)
		}
	}
	if err := c.Init(mclient.RequestTimeout(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := left(t.Context()); got < 5*time.Second {
		t.Errorf("after Init the handler has %v left", got)
	}
}

func TestTimeoutIsNotRetried(t *testing.T) {
	m := newMesh(t)
	one := &Echo{started: make(chan struct{}, 9), ended: make(chan error, 9)}
	two := &Echo{started: make(chan struct{}, 9), ended: make(chan error, 9)}
	m.serve("echo", "1", one)
	m.serve("echo", "2", two)
	c := m.client(client.Config{})
	req := c.NewRequest("echo", "Echo.Wait", wrapperspb.Bytes(nil))
	err := c.Call(t.Context(), req, new(wrapperspb.BytesValue), mclient.WithRequestTimeout(50*time.Millisecond), mclient.WithRetries(5))
	if !errs.Is(err, errs.Timeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want Timeout", err)
	}
	if n := one.calls.Load() + two.calls.Load(); n != 1 {
		t.Errorf("handlers ran %d times", n)
	}
}

func TestErrorIsNotRetried(t *testing.T) {
	m := newMesh(t)
	fail := func(context.Context) error { return errors.New("boom") }
	one, two := &Echo{fail: fail}, &Echo{fail: fail}
	m.serve("echo", "1", one)
	m.serve("echo", "2", two)
	c := m.client(client.Config{})
	if _, err := say(t.Context(), c, "echo", nil, mclient.WithRetries(5)); !errs.Is(err, errs.Internal) {
		t.Errorf("got %v", err)
	}
	if n := one.calls.Load() + two.calls.Load(); n != 1 {
		t.Errorf("handlers ran %d times", n)
	}
}

func TestBrokenConnectionIsNotRetriedOnceSomethingWasSent(t *testing.T) {
	m := newMesh(t)
	// A listener that takes what is sent and hangs up.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var took sync.WaitGroup
	took.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // empty SETTINGS: the connection is up
			buf := make([]byte, 4<<10)
			for got := 0; got < 200; { // preface, SETTINGS, HEADERS
				n, err := conn.Read(buf)
				if err != nil {
					break
				}
				got += n
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); took.Wait() })
	m.register("echo", "breaks", l.Addr().String())
	echo := new(Echo)
	m.serve("echo", "1", echo)
	c := m.client(client.Config{})
	broken := 0
	for i := range 50 {
		if _, err := say(t.Context(), c, "echo", []byte(strings.Repeat("x", 500))); err != nil {
			if !errs.Is(err, errs.Unavailable) {
				t.Fatalf("call %d: %v", i, err)
			}
			broken++
		}
	}
	if broken == 0 || int(echo.calls.Load())+broken != 50 {
		t.Errorf("%d calls broke and %d were handled, of 50", broken, echo.calls.Load())
	}
}

func TestDeadNodeCostsNoCall(t *testing.T) {
	m := newMesh(t)
	echo := new(Echo)
	m.serve("echo", "1", echo)
	m.registerDead("echo", "dead-1")
	m.registerDead("echo", "dead-2")
	c := m.client(client.Config{})
	for i := range 200 {
		if _, err := say(t.Context(), c, "echo", nil); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if n := echo.calls.Load(); n != 200 {
		t.Errorf("the handler ran %d times for 200 calls", n)
	}
}

// TestServiceThatWasKilledManyTimes makes the first call of many clients, each of which has to learn which node lives.
func TestServiceThatWasKilledManyTimes(t *testing.T) {
	m := newMesh(t)
	echo := new(Echo)
	m.serve("echo", "1", echo)
	for i := range 9 {
		m.registerDead("echo", fmt.Sprintf("dead-%d", i))
	}
	for i := range 30 {
		if _, err := say(t.Context(), m.client(client.Config{}), "echo", nil); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	if n := echo.calls.Load(); n != 30 {
		t.Errorf("the handler ran %d times for 30 calls", n)
	}
}

// Other is a handler that knows nothing of Echo.
type Other struct{}

func (Other) Do(context.Context, *wrapperspb.BytesValue, *wrapperspb.BytesValue) error { return nil }

func TestAddressThatNowBelongsToAnotherService(t *testing.T) {
	m := newMesh(t)
	echo := new(Echo)
	m.serve("other", "1", new(Other))
	m.register("echo", "killed", m.reg.Lookup("other").Nodes[0].Address)
	c := m.client(client.Config{})
	if _, err := say(t.Context(), c, "echo", nil); !errs.Is(err, errs.NotFound) {
		t.Errorf("without a node that knows the endpoint: %v, want NotFound", err)
	}
	m.serve("echo", "1", echo)
	for i := range 50 {
		if _, err := say(t.Context(), c, "echo", nil); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if n := echo.calls.Load(); n != 50 {
		t.Errorf("the handler ran %d times for 50 calls", n)
	}
}

// TestFirstCallOfAProcessThatHasJustBegun doesn't wait for discovery before it calls.
func TestFirstCallOfAProcessThatHasJustBegun(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", new(Echo))
	for range 20 {
		reg, err := discovery.New(m.js, discovery.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(reg, client.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = say(t.Context(), c, "echo", nil)
		if err != nil {
			t.Errorf("got %v", err)
		}
		if err := errors.Join(c.Close(), reg.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServiceThatIsNotRunning(t *testing.T) {
	m := newMesh(t)
	m.registerDead("dead", "1")
	c := m.client(client.Config{})
	for _, service := range []string{"nobody", "dead"} {
		_, err := say(t.Context(), c, service, nil)
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: got %v, want Unavailable", service, err)
		}
		if e := errs.From(err); strings.Contains(e.Message, "127.0.0.1") {
			t.Errorf("%s: the message tells an internal address: %s", service, e.Message)
		}
	}
}

func TestNothingIsLostWhenServersAreReplaced(t *testing.T) {
	m := newMesh(t)
	echo := new(Echo)
	old := m.serve("echo", "0", echo)
	c := m.client(client.Config{})
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := say(t.Context(), c, "echo", []byte("hi")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 5 {
		next := m.serve("echo", fmt.Sprint(i+1), echo)
		if err := old.Stop(); err != nil {
			t.Fatal(err)
		}
		old = next
	}
	close(stop)
	callers.Wait()
}

func TestClientsShareNothing(t *testing.T) {
	m := newMesh(t)
	m.serve("one", "1", new(Echo))
	m.serve("two", "1", new(Echo))
	a, b := m.client(client.Config{}), m.client(client.Config{})
	for _, c := range []*client.Client{a, b} {
		for _, s := range []string{"one", "two"} {
			if _, err := say(t.Context(), c, s, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = a.Close()
	if _, err := say(t.Context(), a, "one", nil); err == nil {
		t.Error("a closed client still calls")
	}
	if _, err := say(t.Context(), b, "one", nil); err != nil {
		t.Errorf("closing one client broke another: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", new(Echo))
	c := m.client(client.Config{})
	out := new(wrapperspb.BytesValue)
	for name, c := range map[string]struct {
		got  error
		kind errs.Kind
	}{
		"no request":       {c.Call(t.Context(), nil, out), errs.Internal},
		"no answer":        {c.Call(t.Context(), c.NewRequest("echo", "Echo.Say", out), nil), errs.Internal},
		"a content type":   {c.Call(t.Context(), c.NewRequest("echo", "Echo.Say", out, mclient.WithContentType("text/xml")), out), errs.Unsupported},
		"no message":       {c.Call(t.Context(), c.NewRequest("echo", "Echo.Say", "text"), out), errs.Internal},
		"unknown method":   {c.Call(t.Context(), c.NewRequest("echo", "Echo.Nothing", out), out), errs.NotFound},
		"unknown handler":  {c.Call(t.Context(), c.NewRequest("echo", "Nobody.Say", out), out), errs.NotFound},
		"no method at all": {c.Call(t.Context(), c.NewRequest("echo", "nonsense", out), out), errs.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			if !errs.Is(c.got, c.kind) {
				t.Errorf("got %v (%v), want kind %v", c.got, errs.From(c.got).Kind, c.kind)
			}
		})
	}
	if err := c.Publish(t.Context(), c.NewMessage("topic", out)); err == nil || !strings.Contains(err.Error(), "pkg/events") {
		t.Errorf("Publish gave %v", err)
	}
	if err := c.Init(mclient.ContentType("text/xml")); err == nil {
		t.Error("Init took a content type that nobody knows")
	}
}
