package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// laterError says after how long another try may do.
type laterError struct {
	error
	after time.Duration
}

func (e *laterError) Unwrap() error { return e.error }

// Later marks an error of [ConsumerOptions].HandleBatch: the event is not tried again before that time is over. Of nil it is
// nil.
func Later(err error, after time.Duration) error {
	if err == nil || after <= 0 {
		return err
	}
	return &laterError{err, after}
}

// pending is an event of a batch that is not done.
type pending struct {
	m   *inHand
	r   Record
	err error // of the last try
}

// processBatch works on events until all are acknowledged, or the consumer stops: ctx ends before work does.
func (c *Consumer) processBatch(ctx, work context.Context, batch []*inHand) {
	todo, ok := c.checked(ctx, work, batch)
	if !ok {
		return
	}
	delay := c.o.FirstRetry
	for try := 1; len(todo) > 0; try++ {
		c.handleBatch(work, todo)
		todo = c.settled(work, todo, try)
		if len(todo) == 0 || work.Err() != nil { // it was cut off
			return
		}
		c.log.Warn("events_retried", "events", len(todo), "id", todo[0].r.ID, "try", try, "error", todo[0].err)
		if !pause(ctx, max(jitter(delay), waits(todo))) {
			return
		}
		delay = min(2*delay, c.o.LastRetry)
	}
}

// checked gives the events that are good. It tells false where ctx has ended before that is known of all.
func (c *Consumer) checked(ctx, work context.Context, batch []*inHand) (todo []pending, ok bool) {
	for _, m := range batch {
		if ctx.Err() != nil {
			return nil, false
		}
		r, err := c.v.insist(ctx, original(m))
		_, dropped := errors.AsType[*DroppedError](err)
		switch {
		case dropped:
			c.ack(work, m)
		case err != nil:
			return nil, false // ctx has ended
		case r.Problem != "":
			c.bury(work, m, r, errors.New(r.Problem), 0)
		default:
			todo = append(todo, pending{m: m, r: r})
		}
	}
	return todo, true
}

// handleBatch calls the service's function, and notes what it says of each event.
func (c *Consumer) handleBatch(ctx context.Context, todo []pending) {
	records := make([]Record, len(todo))
	for i := range todo {
		records[i] = todo[i].r
	}
	results, err := c.callBatch(ctx, records)
	if err == nil && len(results) != 0 && len(results) != len(todo) {
		err = fmt.Errorf("%d events are handled with %d results", len(todo), len(results))
	}
	for i := range todo {
		todo[i].err = err
		if err == nil && len(results) > 0 {
			todo[i].err = results[i]
		}
	}
}

func (c *Consumer) callBatch(ctx context.Context, records []Record) (results []error, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handle events: panic: %v", p)
		}
	}()
	return c.o.HandleBatch(ctx, records), nil
}

// settled acknowledges what is done, buries what never will be, and gives the rest.
func (c *Consumer) settled(work context.Context, todo []pending, try int) (rest []pending) {
	var g errgroup.Group
	g.SetLimit(c.o.Parallel)
	for _, p := range todo {
		_, permanent := errors.AsType[*permanentError](p.err)
		switch {
		case p.err == nil:
			g.Go(func() error { c.ack(work, p.m); return nil })
		case work.Err() == nil && (permanent || try == c.o.Tries):
			g.Go(func() error { c.bury(work, p.m, p.r, p.err, try); return nil })
		default:
			rest = append(rest, p)
		}
	}
	_ = g.Wait() // none of them fails
	return rest
}

// waits is the longest time that errors ask for.
func waits(todo []pending) (d time.Duration) {
	for _, p := range todo {
		if later, ok := errors.AsType[*laterError](p.err); ok {
			d = max(d, later.after)
		}
	}
	return d
}
