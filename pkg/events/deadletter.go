package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// DeadLetter is an event that a consumer could not do its work of.
type DeadLetter struct {
	Consumer string `json:"consumer"`
	ID       string `json:"id"` // of the event
	Topic    string `json:"topic"`
	Type     string `json:"type"`
	Key      string `json:"key,omitempty"`
	Tries    int    `json:"tries"` // 0 where it could not be decoded
	Why      string `json:"why"`
	At       string `json:"at"`
}

// DeadLetters gives those of a consumer, or all where it is empty, oldest first.
func DeadLetters(ctx context.Context, js jetstream.JetStream, consumer string) ([]DeadLetter, error) {
	out := []DeadLetter{}
	err := eachDead(ctx, js, consumer, func(_ jetstream.Stream, m jetstream.Msg, _ uint64) error {
		out = append(out, deadLetter(m))
		return nil
	})
	return out, err
}

func deadLetter(m jetstream.Msg) DeadLetter {
	h := m.Headers()
	tries, _ := strconv.Atoi(h.Get(headerDeadTries)) // 0 says that it is not known
	return DeadLetter{
		Consumer: strings.TrimPrefix(m.Subject(), deadSubject("")), ID: h.Get(headerID), Topic: strings.TrimPrefix(h.Get(headerDeadSubject), Subject("")),
		Type: h.Get(headerType), Key: h.Get(headerSubject), Tries: tries, Why: h.Get(headerDeadWhy), At: h.Get(headerDeadAt),
	}
}

// Replay gives a consumer its dead letters back, or the one of an event where an id is named, once each, and tells how
// many there were. They keep their ids and signatures. Where it fails, what was not given back is still a dead letter.
func Replay(ctx context.Context, js jetstream.JetStream, consumer, id string) (n int, err error) {
	if !consumerNames.MatchString(consumer) {
		return 0, fmt.Errorf("%q is no name of a consumer", consumer)
	}
	err = eachDead(ctx, js, consumer, func(s jetstream.Stream, m jetstream.Msg, seq uint64) error {
		if id != "" && m.Headers().Get(headerID) != id || m.Headers().Get(headerDeadKept) != "" {
			return nil
		}
		again := &nats.Msg{Subject: replaySubject(consumer), Data: m.Data(), Header: nats.Header{}}
		for name, values := range m.Headers() {
			if !strings.HasPrefix(name, "Nats-") {
				again.Header[name] = values
			}
		}
		// Whoever is killed before the letter is taken out gives it back again, under the same id.
		again.Header.Set(nats.MsgIdHdr, fmt.Sprint("replay.", consumer, ".", seq))
		if _, err := js.PublishMsg(ctx, again); err != nil {
			return fmt.Errorf("give back event: %w", err)
		}
		if err := s.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("take out dead letter: %w", err)
		}
		n++
		return nil
	})
	return n, err
}

// eachDead calls f with the dead letters of a consumer, or of all.
func eachDead(ctx context.Context, js jetstream.JetStream, consumer string, f func(jetstream.Stream, jetstream.Msg, uint64) error) error {
	if err := EnsureDeadStream(ctx, js); err != nil {
		return err
	}
	s, err := js.Stream(ctx, DeadStream)
	if err != nil {
		return fmt.Errorf("open dead letters: %w", err)
	}
	subject := deadSubject("*")
	if consumer != "" {
		subject = deadSubject(consumer)
	}
	c, err := js.OrderedConsumer(ctx, DeadStream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	left := c.CachedInfo().NumPending
	if left == 0 {
		return nil
	}
	msgs, err := c.Messages()
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	defer msgs.Stop()
	for ; left > 0; left-- {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		if err := f(s, m, meta.Sequence.Stream); err != nil {
			return err
		}
		if meta.NumPending == 0 {
			break
		}
	}
	return nil
}
