package client_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/server"
	"go-micro.dev/v5/transport"
	natstransport "go-micro.dev/v5/transport/nats"
	"google.golang.org/grpc/metadata"

	micro "go-micro.dev/v5/metadata"

	"micromesh/pkg/errs"
	"micromesh/pkg/rpc/client"
)

// onNATS makes go-micro's server on its NATS transport.
func (m *mesh) onNATS() func(...server.Option) server.Server {
	return func(opts ...server.Option) server.Server {
		t := natstransport.NewTransport(transport.Addrs(m.url))
		return server.NewRPCServer(append(opts, server.Transport(t), server.Address(server.DefaultAddress))...)
	}
}

// overNATS makes a client that calls such services.
func (m *mesh) overNATS(cfg client.Config) *client.Client {
	m.t.Helper()
	nc, err := nats.Connect(m.url, nats.CustomInboxPrefix("_INBOX_test"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(nc.Close)
	c := m.client(cfg)
	c.CallGuestsOver(nc)
	return c
}

func TestServicesOnNATSAreCalled(t *testing.T) {
	m := newMesh(t)
	u := &Users{}
	m.serveStockOn(m.onNATS(), "users", "1", u)
	c := m.overNATS(client.Config{Timeout: 30 * time.Second})
	const callers, calls = 8, 100
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range calls {
				id := i*calls + j
				got, err := read(t.Context(), c, id, "x", metadata.MD{"authorization": {fmt.Sprint("Bearer ", id)}})
				if want := fmt.Sprintf(`{"id":%d,"name":"x"}`, id); err != nil || got != want {
					t.Errorf("call %d: %s, %v", id, got, err)
					return
				}
				md, _ := u.seen.Load(int64(id))
				if got := md.(micro.Metadata)["Authorization"]; got != fmt.Sprint("Bearer ", id) {
					t.Errorf("call %d came with the token of another: %s", id, got)
				}
			}
		})
	}
	wg.Wait()
	if n := u.calls.Load(); n != callers*calls && !t.Failed() {
		t.Errorf("the handler ran %d times for %d calls", n, callers*calls)
	}
}

func TestErrorsOfServicesOnNATS(t *testing.T) {
	m := newMesh(t)
	m.serveStockOn(m.onNATS(), "users", "1", &Users{})
	c := m.overNATS(client.Config{})
	for _, tt := range []struct {
		name string
		kind errs.Kind
		text string
	}{
		{"missing", errs.NotFound, "there is no user 7"},
		{"secret", errs.Internal, "something went wrong on our side"},
		{strings.Repeat("x", 2<<20), errs.TooLarge, "larger than NATS takes"},
		{"joe", 0, ""},
	} {
		_, err := read(t.Context(), c, 7, tt.name, nil)
		if e := errs.From(err); tt.text != "" && (e == nil || e.Kind != tt.kind || !strings.Contains(e.Message, tt.text)) || tt.text == "" && err != nil {
			t.Errorf("%.10s: error is %v, want %v: %s", tt.name, err, tt.kind, tt.text)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := read(ctx, c, 7, "slow", nil); !errs.Is(err, errs.Timeout) {
		t.Errorf("error is %v, want that it took too long", err)
	}
	if got, err := read(t.Context(), c, 8, "after", nil); err != nil || !strings.Contains(got, "after") {
		t.Errorf("a call after one that was given up: %s, %v", got, err)
	}
	if _, err := read(t.Context(), m.client(client.Config{}), 1, "joe", nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("without a connection the error is %v, want Unavailable", err)
	}
}

// A node whose subject has no subscriber is passed over immediately.
func TestADeadNodeOnNATSIsPassedOver(t *testing.T) {
	m := newMesh(t)
	m.registerStockAt("users", "dead", "nats", "_INBOX.dead")
	c := m.overNATS(client.Config{})
	began := time.Now()
	if _, err := read(t.Context(), c, 1, "joe", nil); !errs.Is(err, errs.Unavailable) || time.Since(began) > time.Second {
		t.Errorf("error is %v after %v, want Unavailable at once", err, time.Since(began))
	}
	m.serveStockOn(m.onNATS(), "users", "1", &Users{})
	m.serveStock("users", "2", &Users{})
	for i := range 50 {
		if _, err := read(t.Context(), c, i, "joe", nil); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}
