package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// ackTries is how often an ack is sent to a server that doesn't answer.
const ackTries = 5

// permanentError says that another try is of no use.
type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// Permanent marks an error of [ConsumerOptions].Handle: the event becomes a dead letter at once. Of nil it is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// process works on an event until it is acknowledged, or the consumer stops: ctx ends before work does.
func (c *Consumer) process(ctx, work context.Context, m *inHand) {
	if ctx.Err() != nil {
		return
	}
	r, err := c.v.insist(ctx, original(m))
	if _, dropped := errors.AsType[*DroppedError](err); dropped {
		c.ack(work, m)
		return
	}
	if err != nil {
		return // ctx has ended
	}
	if r.Problem != "" {
		c.bury(work, m, r, errors.New(r.Problem), 0)
		return
	}
	delay := c.o.FirstRetry
	for try := 1; ; try++ {
		c.lanes.slot(func() { err = c.handle(work, r) })
		if err == nil {
			c.ack(work, m)
			return
		}
		_, permanent := errors.AsType[*permanentError](err)
		switch {
		case work.Err() != nil: // it was cut off
			return
		case permanent, try == c.o.Tries:
			c.bury(work, m, r, err, try)
			return
		}
		c.log.Warn("event_retried", "topic", r.Topic, "id", r.ID, "try", try, "error", err)
		if !pause(ctx, jitter(delay)) {
			return
		}
		delay = min(2*delay, c.o.LastRetry)
	}
}

// handle calls the service's function. One that panics is wrong about this event, not about those of others.
func (c *Consumer) handle(ctx context.Context, r Record) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handle event: panic: %v", p)
		}
	}()
	return c.o.Handle(ctx, r)
}

// jitter gives a time from half of d to all of it, so that those who failed together don't try again together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// ack acknowledges a message until the server has it, so that no later event of its key goes before it. Where a server that is
// there says nothing again and again, it has lost the stream: nothing waits for the ack any more.
func (c *Consumer) ack(ctx context.Context, m *inHand) {
	delay := firstRetry
	for unheard := 0; ; {
		try, cancel := context.WithTimeout(ctx, lastRetry)
		err := m.DoubleAck(try)
		cancel()
		if err != nil && c.v.js.Conn().IsConnected() {
			unheard++
		}
		if err == nil || unheard == ackTries {
			c.lanes.done(m)
			return
		}
		c.log.Warn("ack_waits", "stream", m.stream, "sequence", m.seq, "error", err)
		if !pause(ctx, delay) {
			return
		}
		delay = min(2*delay, lastRetry)
	}
}
