package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lib/pq"
)

// Bounds of the pause before a transaction is tried again; it doubles from one to the other.
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 100 * time.Millisecond
)

// lostTries is how often a transaction is begun anew because its connection was lost in the middle.
const lostTries = 3

// retrier runs each function in a transaction of its own, on a connection of the pool, and runs it again where Postgres
// gave it up for the sake of others, or the connection was lost before the commit.
type retrier struct {
	pool  *sql.DB
	slots slots
	log   *slog.Logger
	stale int // how many connections of the pool may have died while they were idle

	mu     sync.RWMutex // held for reading while a function runs
	closed bool
}

var _ writer = (*retrier)(nil)

// stage is how far a transaction came.
type stage int

const (
	connecting stage = iota
	beginning
	running
	committing
)

// write implements writer.
func (r *retrier) write(ctx context.Context, mode txMode, fn func(*Tx) error) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return errClosed()
	}
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	if err := r.slots.acquire(ctx); err != nil {
		return err
	}
	defer r.slots.release()
	pause := retryFirst
	for lost, stale := 0, 0; ; {
		at, err := r.once(ctx, mode, fn)
		if err == nil {
			return nil
		}
		switch {
		case pqRetry(err):
			if !sleep(ctx, pause/2+rand.N(pause)) {
				return classify(err)
			}
			pause = min(2*pause, retryMost)
		case at == beginning && isLost(err) && stale < r.stale:
			stale++ // after a restart of the server every idle connection is like that
		case at == running && isLost(err) && lost < lostTries:
			lost++
		default:
			return classify(err)
		}
		if ctx.Err() != nil {
			return classify(err)
		}
		r.log.Debug("write_retried", "error", err)
	}
}

// close implements writer.
func (r *retrier) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}

// pqRetry tells whether Postgres asks to try again.
func pqRetry(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && mayRetry(e.Code)
}

// once runs fn in one transaction and tells how far it came.
func (r *retrier) once(ctx context.Context, mode txMode, fn func(*Tx) error) (at stage, err error) {
	limit, _ := ctx.Deadline()
	call := callContext{caller: ctx, limit: limit, writes: true}
	conn, err := r.pool.Conn(call)
	if err != nil {
		return connecting, err
	}
	defer func() {
		if err != nil || at != committing { // also when fn panics
			r.rollback(call, conn)
		}
		_ = conn.Close() // gives it back to the pool; a bad one is gone already
	}()
	at = beginning
	if _, err := conn.ExecContext(call, string(mode)); err != nil {
		return at, err
	}
	at = running
	if err := (&Tx{conn: conn, limit: limit}).run(fn); err != nil {
		return at, err
	}
	at = committing
	if _, err := conn.ExecContext(call, "COMMIT"); err != nil {
		return at, commitError(err)
	}
	return at, nil
}

// rollback ends a transaction that failed. A connection on which that does not work is dropped, and the server rolls back.
func (r *retrier) rollback(call callContext, conn *sql.Conn) {
	call.caller = context.WithoutCancel(call.caller)
	if _, err := conn.ExecContext(call, "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // that marks it as bad
	}
}

// commitError tells the errors with which the server refuses a commit from those after which nobody knows.
func commitError(err error) error {
	if _, ok := errors.AsType[*pq.Error](err); ok {
		return err
	}
	return unavailable(fmt.Errorf("%w: %w", errUnknown, err))
}

// sleep waits, and tells false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
