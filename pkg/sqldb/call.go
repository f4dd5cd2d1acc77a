package sqldb

import (
	"context"
	"time"
)

// callContext carries the caller's context through database/sql, which would start a goroutine for every query that can
// be cancelled, to the connections of this package, which watch it for less. For database/sql it never ends.
type callContext struct {
	caller context.Context
	limit  time.Time // when the call must be over; zero is never
	point  bool      // a look-up that is over before anyone could cancel it
	writes bool      // part of a transaction that writes
}

var _ context.Context = callContext{}

// Deadline implements context.Context: there is none.
func (callContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context: it never is.
func (callContext) Done() <-chan struct{} { return nil }

// Err implements context.Context: there is none.
func (callContext) Err() error { return nil }

// Value implements context.Context with the caller's values.
func (c callContext) Value(key any) any { return c.caller.Value(key) }

// callOf gives the call that database/sql passed on.
func callOf(ctx context.Context) callContext {
	if c, ok := ctx.(callContext); ok {
		return c
	}
	return callContext{caller: ctx}
}

// deadline is when the call must be over: its limit or the caller's deadline, whichever is earlier; zero is never.
func (c callContext) deadline() time.Time {
	d, ok := c.caller.Deadline()
	if !ok || (!c.limit.IsZero() && c.limit.Before(d)) {
		return c.limit
	}
	return d
}
