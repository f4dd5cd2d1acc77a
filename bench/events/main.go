// Command events measures how many events one core verifies and decodes by the schema that travels with them, as every
// consumer does, and decodes alone, beside what a program does that was built with the event's type, in turns.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"micromesh/bench/internal/figure"
	"micromesh/forwarder/service"
	"micromesh/pkg/events"
	"micromesh/pkg/events/proto/accounts"
	"micromesh/pkg/natsconn/embedded"
	"micromesh/pkg/schema"
	"micromesh/pkg/secret"
)

const (
	rounds = 5
	round  = time.Second
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "bench-events")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := slog.New(slog.DiscardHandler)
	srv, err := embedded.Start(dir, log)
	if err != nil {
		return err
	}
	defer srv.Stop()
	nc, err := nats.Connect("", srv.Option())
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	m, err := published(ctx, js)
	if err != nil {
		return err
	}
	return measure(ctx, events.NewVerifier(js, nil, log, prometheus.NewRegistry()), m)
}

// published is an event as it comes out of the stream.
func published(ctx context.Context, js jetstream.JetStream) (jetstream.Msg, error) {
	s, err := events.NewSchema(accounts.Topic, accounts.File_accounts_events_proto)
	if err != nil {
		return nil, err
	}
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		return nil, err
	}
	signer := events.NewSigner(accounts.Owner, box, nil)
	if err := errors.Join(events.EnsureStream(ctx, js), signer.Announce(ctx, js), schema.Put(ctx, js, schema.Schema{Hash: s.Hash, Set: s.Set})); err != nil {
		return nil, err
	}
	data, err := proto.Marshal(&accounts.Event{
		Type: accounts.EventType_EVENT_TYPE_ACCOUNT_REGISTERED, Account: &accounts.Account{Id: "01J0000000000000000000000", Slug: "basket-svc"},
		Payload: &accounts.Event_AccountRegistered{AccountRegistered: &accounts.AccountRegistered{Name: "Basket"}},
	})
	if err != nil {
		return nil, err
	}
	m := &nats.Msg{Subject: events.Subject(accounts.Topic), Data: data, Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/" + accounts.Owner}, "ce-type": {"micromesh.accounts.ACCOUNT_REGISTERED"}, "ce-subject": {"1"},
		"ce-time": {"2026-01-02T03:04:05Z"}, "ce-datacontenttype": {"application/protobuf"}, "ce-dataschema": {s.Hash},
	}}
	signer.Sign(m)
	if _, err := js.PublishMsg(ctx, m); err != nil {
		return nil, fmt.Errorf("publish event: %w", err)
	}
	c, err := js.OrderedConsumer(ctx, events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return c.Next()
}

// way is something that is done with an event.
type way struct {
	name  string
	do    func() error
	rates []float64
}

// ways are what is compared.
func ways(ctx context.Context, v *events.Verifier, m jetstream.Msg) []*way {
	return []*way{
		{name: "verified, decoded by the schema, as JSON", do: func() error {
			r, err := v.Check(ctx, m)
			if err == nil && r.Problem != "" {
				err = errors.New(r.Problem)
			}
			return err
		}},
		{name: "decoded by the schema, as JSON", do: func() error {
			_, err := v.Decode(ctx, m)
			return err
		}},
		{name: "decoded by the schema, as the forwarder sends it to Mixpanel", do: func() error {
			data, err := v.Decode(ctx, m)
			if err != nil {
				return err
			}
			h := m.Headers()
			_, err = service.Mixpanel{}.Encode(service.Event{
				ID: h.Get("ce-id"), Source: h.Get("ce-source"), Type: h.Get("ce-type"), Subject: h.Get("ce-subject"), Time: h.Get("ce-time"), Topic: accounts.Topic, Data: data,
			})
			return err
		}},
		{name: "proto.Unmarshal into the generated type, protojson", do: func() error {
			e := &accounts.Event{}
			if err := proto.Unmarshal(m.Data(), e); err != nil {
				return err
			}
			_, err := protojson.Marshal(e)
			return err
		}},
		{name: "proto.Unmarshal into the generated type", do: func() error { return proto.Unmarshal(m.Data(), &accounts.Event{}) }},
	}
}

func measure(ctx context.Context, v *events.Verifier, m jetstream.Msg) error {
	runtime.GOMAXPROCS(1)
	all := ways(ctx, v, m)
	for range rounds {
		for _, w := range all {
			n, err := rate(w.do)
			if err != nil {
				return err
			}
			w.rates = append(w.rates, n)
		}
	}
	table := [][]string{{"on one core, median of 5", "events/s", "µs an event"}}
	for _, w := range all {
		slices.Sort(w.rates)
		median := w.rates[len(w.rates)/2]
		table = append(table, []string{w.name, fmt.Sprintf("%.0f", median), fmt.Sprintf("%.2f", 1e6/median)})
	}
	return figure.Table(os.Stdout, table)
}

// rate gives how often f runs in a second.
func rate(f func() error) (float64, error) {
	began, n := time.Now(), 0
	for time.Since(began) < round {
		for range 100 {
			if err := f(); err != nil {
				return 0, err
			}
		}
		n += 100
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
