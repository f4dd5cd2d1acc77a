package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"micromesh/pkg/errs"
)

// Bounds of a group: a caller waits for the others of its group, so that they stay few and short.
const (
	groupMax  = 256
	groupTime = 10 * time.Millisecond
)

// group commits the functions of many writers together: those that wait run one after the other in one transaction,
// each in a savepoint, and are answered after its one commit. While that commit waits for the disk the next group gathers,
// so that a group is as large as the disk is slow, and a lone writer never waits for company.
//
// Each function runs on its caller's goroutine, which the one that owns the connection lets in, one at a time; so a
// function's panic is its caller's.
type group struct {
	pool *sql.DB // of one connection
	log  *slog.Logger
	conn *sql.Conn // nil after a failure, until the next group

	mu     sync.RWMutex // held for reading while a job is put into jobs
	closed bool
	jobs   chan *job
	done   chan struct{} // closed when the last job was answered
}

var _ writer = (*group)(nil)

// job is a function that waits for its turn.
type job struct {
	taken  atomic.Bool // by the group that runs it, or by a caller that no longer wants it
	turn   chan *Tx    // the group lets the caller in
	ran    chan bool   // the caller is through: keep what it did?
	result chan error  // the outcome of the commit
}

func newGroup(pool *sql.DB, log *slog.Logger) *group {
	pool.SetMaxOpenConns(1)
	return &group{pool: pool, log: log, jobs: make(chan *job, groupMax), done: make(chan struct{})}
}

// start opens the connection, so that a file that is no database is found now, and begins to serve.
func (g *group) start(ctx context.Context) error {
	if err := g.connect(ctx); err != nil {
		return errors.Join(err, g.pool.Close())
	}
	go g.serve()
	return nil
}

// connect opens the connection if there is none.
func (g *group) connect(ctx context.Context) error {
	if g.conn != nil {
		return nil
	}
	conn, err := g.pool.Conn(ctx)
	if err != nil {
		return err
	}
	g.conn = conn
	return nil
}

// write implements writer. SQLite knows one mode.
func (g *group) write(ctx context.Context, _ txMode, fn func(*Tx) error) error {
	j := &job{turn: make(chan *Tx, 1), ran: make(chan bool, 1), result: make(chan error, 1)}
	if err := g.enqueue(ctx, j); err != nil {
		return err
	}
	var tx *Tx
	select {
	case tx = <-j.turn:
	case err := <-j.result: // the group could not begin
		return err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return classify(ctx.Err())
		}
		select {
		case tx = <-j.turn:
		case err := <-j.result:
			return err
		}
	}
	if err := j.run(tx, fn); err != nil {
		return err
	}
	return <-j.result
}

// enqueue puts j into the queue, or gives up when ctx ends first.
func (g *group) enqueue(ctx context.Context, j *job) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return errClosed()
	}
	if err := ctx.Err(); err != nil {
		return classify(err)
	}
	select {
	case g.jobs <- j:
		return nil
	case <-ctx.Done():
		return classify(ctx.Err())
	}
}

// run calls fn and tells the group what to do with it, also when fn panics or ends its goroutine.
func (j *job) run(tx *Tx, fn func(*Tx) error) (err error) {
	keep := false
	defer func() { j.ran <- keep }()
	err = tx.run(fn)
	keep = err == nil
	return err
}

// close implements writer.
func (g *group) close() error {
	g.mu.Lock()
	first := !g.closed
	if first {
		g.closed = true
		close(g.jobs)
	}
	g.mu.Unlock()
	<-g.done
	if !first {
		return nil
	}
	if g.conn != nil {
		if err := g.conn.Close(); err != nil {
			return errors.Join(err, g.pool.Close())
		}
	}
	return g.pool.Close()
}

// serve runs the jobs until the queue is closed and empty.
func (g *group) serve() {
	defer close(g.done)
	for first := range g.jobs {
		if first.taken.CompareAndSwap(false, true) {
			g.commit(first)
		}
	}
}

// commit runs first and those that wait behind it in one transaction, and answers them.
func (g *group) commit(first *job) {
	ctx := context.Background() // the transaction is everybody's: no caller can cancel it
	if err := g.begin(ctx); err != nil {
		g.discard(err)
		first.result <- unavailable(err)
		return
	}
	var kept []*job
	var err error
	started := time.Now()
	for n, j := 1, first; j != nil; n++ {
		var keep bool
		if keep, err = g.let(ctx, j); keep {
			kept = append(kept, j)
		}
		if err != nil || n == groupMax || time.Since(started) > groupTime {
			break // before another job is taken
		}
		j = g.next()
	}
	if err == nil {
		err = g.end(ctx, len(kept) > 0)
	}
	if err != nil {
		g.discard(err)
		err = unavailable(err)
	}
	for _, j := range kept {
		j.result <- err
	}
}

// next takes the next job that is still wanted, nil if none waits.
func (g *group) next() *job {
	for {
		select {
		case j, ok := <-g.jobs:
			if !ok {
				return nil
			}
			if j.taken.CompareAndSwap(false, true) {
				return j
			}
		default:
			return nil
		}
	}
}

// begin opens the group's transaction.
func (g *group) begin(ctx context.Context) error {
	if err := g.connect(ctx); err != nil {
		return err
	}
	return g.exec(ctx, "BEGIN IMMEDIATE")
}

// end closes the group's transaction; there is nothing to commit where every function failed.
func (g *group) end(ctx context.Context, keep bool) error {
	if keep {
		return g.exec(ctx, "COMMIT")
	}
	return g.exec(ctx, "ROLLBACK")
}

// let runs a job in a savepoint and tells whether it awaits the commit. An error means that the transaction is lost:
// SQLite rolls all of it back on some errors, such as a full disk, and then the savepoint is gone.
func (g *group) let(ctx context.Context, j *job) (keep bool, err error) {
	if err := g.exec(ctx, "SAVEPOINT job"); err != nil {
		j.result <- unavailable(err)
		return false, err
	}
	j.turn <- &Tx{conn: g.conn}
	if keep = <-j.ran; !keep {
		if err := g.exec(ctx, "ROLLBACK TO job"); err != nil {
			return false, err
		}
	}
	return keep, g.exec(ctx, "RELEASE job")
}

func (g *group) exec(ctx context.Context, query string) error {
	_, err := g.conn.ExecContext(ctx, query)
	return err
}

// discard closes the connection after a failure, which rolls back what it began. The next group opens another.
func (g *group) discard(cause error) {
	g.log.Error("write_group_lost", "error", cause)
	if g.conn == nil {
		return
	}
	// The error of the function marks the connection as bad, so that the pool drops it.
	_ = g.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = g.conn.Close() // it is closed already
	g.conn = nil
}

// errClosed is the answer of a database that was closed.
func errClosed() error {
	return errs.New(errs.Unavailable, "", "the database is closed").Because(fmt.Errorf("write: %w", sql.ErrConnDone))
}
