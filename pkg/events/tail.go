package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
	Schema  string          `json:"-"` // the hash of the schema by which it was decoded
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
// who watch, not for work that must not miss anything. What v drops, and an event that comes again, is left out.
//
// Events of the past come at a pace, which all who watch by the same verifier share: 500 a second for each processor. Else
// those who ask for the events of a day would keep whoever else needs the process waiting.
func Tail(ctx context.Context, v *Verifier, o TailOptions, f func(Record) error) error {
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy}
	for _, t := range o.Topics {
		cfg.FilterSubjects = append(cfg.FilterSubjects, Subject(t))
	}
	if o.Since > 0 {
		start := time.Now().Add(-o.Since)
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	if err := EnsureStream(ctx, v.js); err != nil {
		return err
	}
	c, err := v.js.OrderedConsumer(ctx, Stream, cfg)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	msgs, err := c.Messages(jetstream.PullMaxMessages(ahead))
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer msgs.Stop()
	var seen memory
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
				return ctx.Err()
			}
			return fmt.Errorf("read events: %w", err)
		}
		if md, err := m.Metadata(); err == nil && md.NumPending > 0 && v.past.Wait(ctx) != nil {
			return ctx.Err()
		}
		r, err := v.insist(ctx, m)
		if _, dropped := errors.AsType[*DroppedError](err); dropped {
			continue
		}
		if err != nil {
			return err
		}
		if seen.has(r.ID) {
			v.drop(r, &DroppedError{Reason: ReasonDuplicate})
			continue
		}
		if err := f(r); err != nil {
			return err
		}
	}
}

// ahead is how many events are fetched before their turn: no more lie here for a client that reads nothing.
const ahead = 20

// insist checks an event until that can be done, or ctx ends.
func (v *Verifier) insist(ctx context.Context, m jetstream.Msg) (Record, error) {
	delay := firstRetry
	for {
		r, err := v.Check(ctx, m)
		if _, dropped := errors.AsType[*DroppedError](err); err == nil || dropped {
			return r, err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Record{}, ctx.Err()
		}
		delay = min(2*delay, lastRetry)
	}
}

// memory knows the last ids that it was asked about: remembered of them at least, twice as many at most.
type memory struct{ last, before map[string]bool }

const remembered = 10_000

// has tells whether an id was asked about before.
func (m *memory) has(id string) bool {
	if m.last[id] || m.before[id] {
		return true
	}
	if len(m.last) >= remembered || m.last == nil {
		m.last, m.before = map[string]bool{}, m.last
	}
	m.last[id] = true
	return false
}
