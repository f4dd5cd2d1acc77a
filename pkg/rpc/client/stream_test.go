package client_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	mclient "go-micro.dev/v5/client"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"micromesh/pkg/errs"
	"micromesh/pkg/rpc/client"
)

func openChat(t *testing.T, ctx context.Context, c *client.Client, opts ...mclient.CallOption) mclient.Stream {
	t.Helper()
	s, err := c.Stream(ctx, c.NewRequest("echo", "Echo.Chat", &wrapperspb.BytesValue{}), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStream(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", new(Echo))
	m.registerDead("echo", "dead")
	c := m.client(client.Config{})
	for range 10 {
		s := openChat(t, t.Context(), c)
		for _, want := range []string{"a", "b"} {
			if err := s.Send(wrapperspb.Bytes([]byte(want))); err != nil {
				t.Fatal(err)
			}
			var got wrapperspb.BytesValue
			if err := s.Recv(&got); err != nil || string(got.GetValue()) != want {
				t.Fatalf("got %q, %v", got.GetValue(), err)
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := s.Recv(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
			t.Errorf("the end is %v", err)
		}
		if err := s.Error(); err != nil {
			t.Errorf("the stream broke: %v", err)
		}
		_ = s.Close()
	}
}

func TestStreamError(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", &Echo{fail: func(context.Context) error { return errors.New("boom") }})
	c := m.client(client.Config{})
	s := openChat(t, t.Context(), c)
	if err := s.Send(wrapperspb.Bytes([]byte("fail"))); err != nil {
		t.Fatal(err)
	}
	err := s.Recv(new(wrapperspb.BytesValue))
	if !errs.Is(err, errs.Internal) || !errors.Is(s.Error(), err) {
		t.Errorf("got %v, then %v", err, s.Error())
	}
}

func TestStreamEndsWithItsContextAndItsTimeout(t *testing.T) {
	m := newMesh(t)
	m.serve("echo", "1", new(Echo))
	c := m.client(client.Config{Timeout: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	s := openChat(t, ctx, c)
	time.AfterFunc(50*time.Millisecond, cancel) // beyond the timeout of calls, which is not that of streams
	if err := s.Recv(new(wrapperspb.BytesValue)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	s = openChat(t, t.Context(), c, mclient.WithStreamTimeout(20*time.Millisecond))
	if err := s.Recv(new(wrapperspb.BytesValue)); !errs.Is(err, errs.Timeout) {
		t.Errorf("got %v, want Timeout", err)
	}
}

func TestStreamThatIsAbandonedDoesNotHoldItsNode(t *testing.T) {
	m := newMesh(t)
	old := m.serve("echo", "1", new(Echo))
	c := m.client(client.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	openChat(t, ctx, c)
	cancel()
	if err := old.Stop(); err != nil {
		t.Fatal(err)
	}
	m.eventually("the service has left", func() bool { return m.reg.Lookup("echo") == nil })
	if _, err := c.Stream(t.Context(), c.NewRequest("echo", "Echo.Chat", &wrapperspb.BytesValue{})); !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
}
