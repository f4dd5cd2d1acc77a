package events

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
)

// DeadStream is the JetStream stream of dead letters: events that a consumer could not do its work of, under
// "dead.<consumer>", and those that are given back to it, under "replay.<consumer>".
const DeadStream = "dead"

const (
	deadRetention = 30 * 24 * time.Hour

	headerDeadSubject = "Dead-Subject" // that the event was published under, which its signature is of
	headerDeadWhy     = "Dead-Why"
	headerDeadTries   = "Dead-Tries"
	headerDeadAt      = "Dead-At"
	headerDeadKept    = "Dead-Kept" // the event is in its publisher's database: the letter only names it

	maxWhy = 1000 // bytes
)

func deadSubject(consumer string) string   { return "dead." + consumer }
func replaySubject(consumer string) string { return "replay." + consumer }

func deadSubjects() []string { return []string{deadSubject("*"), replaySubject("*")} }

// EnsureDeadStream makes sure that the stream of dead letters exists, as [EnsureStream] does for that of events.
func EnsureDeadStream(ctx context.Context, js jetstream.JetStream) error {
	s, err := js.Stream(ctx, DeadStream)
	if err == nil {
		return kv.Plain(s.CachedInfo().Config, deadSubjects()...)
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("look for stream of dead letters: %w", err)
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: DeadStream, Subjects: deadSubjects(), Storage: jetstream.FileStorage, MaxAge: deadRetention, Duplicates: dedupe,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was first
		return fmt.Errorf("open stream of dead letters: %w", err)
	}
	return nil
}

// replayed is an event that was a dead letter, as it was published.
type replayed struct {
	jetstream.Msg
	subject string
}

// Subject implements jetstream.Msg.
func (r replayed) Subject() string { return r.subject }

// original gives a message as its publisher has published it.
func original(m *inHand) jetstream.Msg {
	if m.stream == DeadStream {
		return replayed{m.Msg, m.Headers().Get(headerDeadSubject)}
	}
	return m.Msg
}

// bury puts an event among the dead letters, and acknowledges it once it is there.
func (c *Consumer) bury(ctx context.Context, m *inHand, r Record, why error, tries int) {
	letter := &nats.Msg{Subject: deadSubject(c.o.Name), Data: m.Data(), Header: nats.Header{}}
	for name, values := range maps.All(m.Headers()) {
		if !strings.HasPrefix(name, "Nats-") {
			letter.Header[name] = values
		}
	}
	// A process that is killed before the ack leaves it to another, which must not bury the event again.
	letter.Header.Set(nats.MsgIdHdr, fmt.Sprintf("%s.%s.%d", c.o.Name, m.stream, m.seq))
	letter.Header.Set(headerDeadSubject, original(m).Subject())
	letter.Header.Set(headerDeadWhy, oneLine(why.Error()))
	letter.Header.Set(headerDeadTries, strconv.Itoa(tries))
	letter.Header.Set(headerDeadAt, time.Now().UTC().Format(time.RFC3339))
	delay := firstRetry
	for {
		err := c.store(ctx, letter)
		if err == nil {
			break
		}
		c.log.Warn("dead_letter_waits", "topic", r.Topic, "id", r.ID, "error", err)
		if !pause(ctx, delay) {
			return
		}
		delay = min(2*delay, lastRetry)
	}
	c.v.dead.WithLabelValues(c.o.Name).Inc()
	c.log.Error("event_dead", "topic", r.Topic, "id", r.ID, "type", r.Type, "tries", tries, "error", why)
	c.ack(ctx, m)
}

func (c *Consumer) store(ctx context.Context, letter *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := EnsureDeadStream(ctx, c.v.js); err != nil {
		return err
	}
	if _, err := c.v.js.PublishMsg(ctx, letter); err != nil {
		return fmt.Errorf("store dead letter: %w", err)
	}
	return nil
}

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), maxWhy)], "")
}
