package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"micromesh/pkg/schema"
	"micromesh/pkg/telemetry"
)

// Record is an event as [Tail] gives it: CloudEvents' attributes, and the decoded event.
type Record struct {
	ID      string          `json:"id"`
	Source  string          `json:"source"`
	Type    string          `json:"type"`
	Subject string          `json:"subject,omitempty"`
	Time    string          `json:"time"`
	Topic   string          `json:"topic"`
	Seq     uint64          `json:"sequence"`
	Trace   string          `json:"traceparent,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
	Problem string          `json:"problem,omitempty"` // why Data is missing
}

// TailOptions say which events to give.
type TailOptions struct {
	Topics []string      // all where it is empty
	Since  time.Duration // how far back to begin; 0 begins with what happens now
}

// Tail gives events to f in their order until ctx ends or f fails. It keeps no place in the stream: it is for people
// who watch, not for work that must not miss anything.
func Tail(ctx context.Context, js jetstream.JetStream, o TailOptions, f func(Record) error) error {
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	for _, t := range o.Topics {
		cfg.FilterSubjects = append(cfg.FilterSubjects, Subject(t))
	}
	if o.Since > 0 {
		start := time.Now().Add(-o.Since)
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	if err := EnsureStream(ctx, js); err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, Stream, cfg)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	msgs, err := c.Messages()
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer msgs.Stop()
	d := decoder{js: js, known: map[string]protoreflect.MessageDescriptor{}}
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				return ctx.Err()
			}
			return fmt.Errorf("read events: %w", err)
		}
		if err := f(d.record(ctx, m)); err != nil {
			return err
		}
	}
}

// decoder decodes events by the schemas that their headers name.
type decoder struct {
	js    jetstream.JetStream
	known map[string]protoreflect.MessageDescriptor // by hash
}

func (d *decoder) record(ctx context.Context, m jetstream.Msg) Record {
	h := m.Headers()
	r := Record{
		ID: h.Get(headerID), Source: h.Get(headerSource), Type: h.Get(headerType), Subject: h.Get(headerSubject), Time: h.Get(headerTime),
		Topic: m.Subject()[len(Subject("")):], Trace: h.Get(telemetry.Header),
	}
	if meta, err := m.Metadata(); err == nil {
		r.Seq = meta.Sequence.Stream
	}
	data, err := d.decode(ctx, h.Get(headerSchema), m.Data())
	if err != nil {
		r.Problem = err.Error()
	}
	r.Data = data
	return r
}

func (d *decoder) decode(ctx context.Context, schema string, data []byte) (json.RawMessage, error) {
	desc, err := d.schema(ctx, schema)
	if err != nil {
		return nil, err
	}
	msg := dynamicpb.NewMessage(desc)
	if err := proto.Unmarshal(data, msg); err != nil {
		return nil, errors.New("the event is not what its schema says")
	}
	return protojson.Marshal(msg)
}

func (d *decoder) schema(ctx context.Context, h string) (protoreflect.MessageDescriptor, error) {
	if desc, ok := d.known[h]; ok {
		return desc, nil
	}
	if h == "" {
		return nil, errors.New("the event names no schema")
	}
	s, err := schema.Fetch(ctx, d.js, h)
	if err != nil {
		return nil, err
	}
	desc, err := event(s)
	if err != nil {
		return nil, err
	}
	d.known[h] = desc
	return desc, nil
}
