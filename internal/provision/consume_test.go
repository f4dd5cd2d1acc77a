package provision_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"micromesh/internal/provision"
	"micromesh/pkg/events"
	"micromesh/pkg/secret"
)

// TestAServiceConsumesWithItsOwnLogin has an event become a dead letter and be given back, all with the logins' own rights.
func TestAServiceConsumesWithItsOwnLogin(t *testing.T) {
	s := startNATS(t, provision.Other("basket-svc"))
	js := func(login string) jetstream.JetStream {
		out, err := jetstream.New(s.connect(t, login))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	basket, gateway := js("basket-svc"), js("gateway-svc")
	if err := events.EnsureStream(t.Context(), basket); err != nil {
		t.Fatal(err)
	}
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	signer := events.NewSigner("basket-svc", box, nil)
	if err := signer.Announce(t.Context(), basket); err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: events.Subject("basket-svc"), Header: nats.Header{"ce-id": {"1"}, "ce-source": {"/basket-svc"}}}
	signer.Sign(m) // nobody can decode it
	if _, err := basket.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := events.NewConsumer(events.NewVerifier(basket, nil, log, prometheus.NewRegistry()), log, events.ConsumerOptions{
		Name: "basket-svc", Topics: []string{"basket-svc"}, Patience: time.Second, Handle: func(context.Context, events.Record) error { return errors.New("it was decoded") },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	deadline := time.Now().Add(30 * time.Second)
	for back := 0; back < 2; time.Sleep(5 * time.Millisecond) { // between two looks; the event dies again
		n, err := events.Replay(t.Context(), gateway, "basket-svc", "1")
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("given back %d times: %v", back, err)
		}
		back += n
	}
}
