package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// connectTimeout bounds dialling, TLS and signing in together, unless the URL sets connect_timeout.
const connectTimeout = time.Second

// idleInTransaction is after how long Postgres frees the locks of a process that it lost sight of.
const idleInTransaction = 30 * time.Second

// openPostgres readies a pool; it does not dial.
func openPostgres(cfg Config) (*DB, error) {
	conf, err := pq.NewConfig(cfg.URL)
	if err != nil {
		// The parser's error may quote the password.
		return nil, errors.New("database URL: not a valid postgres://user:password@host:port/database?sslmode=…")
	}
	conf.ConnectTimeout = cmp.Or(conf.ConnectTimeout, connectTimeout)
	conf.Runtime = withDefaults(conf.Runtime, map[string]string{
		"default_transaction_read_only":       "on", // a write outside of Write is an error, as it is on SQLite
		"statement_timeout":                   strconv.FormatInt((2 * cfg.Timeout).Milliseconds(), 10),
		"idle_in_transaction_session_timeout": strconv.FormatInt(idleInTransaction.Milliseconds(), 10),
	})
	conns := cmp.Or(cfg.MaxConns, DefaultPostgresConns)
	pool := sql.OpenDB(connectorFunc(func(ctx context.Context) (driver.Conn, error) {
		conn, err := connectPostgres(ctx, conf.Clone())
		if err != nil {
			return nil, unavailable(fmt.Errorf("connect: %w", err))
		}
		return conn, nil
	}))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db := &DB{dialect: Postgres, pool: pool, slots: make(slots, conns), timeout: cfg.Timeout, outgoing: newSignal()}
	db.writer = &retrier{pool: pool, slots: db.slots, log: cfg.Logger, stale: conns}
	return db, nil
}

// withDefaults gives defaults overridden by given.
func withDefaults(given, defaults map[string]string) map[string]string {
	for k, v := range given {
		defaults[k] = v
	}
	return defaults
}

// connectPostgres opens a connection before the call's deadline.
func connectPostgres(ctx context.Context, conf pq.Config) (*pgConn, error) {
	call := callOf(ctx)
	if d := call.deadline(); !d.IsZero() {
		conf.ConnectTimeout = min(conf.ConnectTimeout, time.Until(d))
		if conf.ConnectTimeout <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	connector, err := pq.NewConnectorConfig(conf)
	if err != nil {
		return nil, err
	}
	dialer := &wireDialer{}
	connector.Dialer(dialer)
	inner, err := connector.Connect(call.caller)
	if err != nil {
		return nil, err
	}
	return &pgConn{Conn: inner, wire: dialer.last, stmts: newStmtCache()}, nil
}

// wireDialer keeps the network connection that it dialled last, which is that of the session.
type wireDialer struct {
	net.Dialer
	last net.Conn
}

var (
	_ pq.Dialer        = (*wireDialer)(nil)
	_ pq.DialerContext = (*wireDialer)(nil)
)

// DialTimeout implements pq.Dialer, which wants it but prefers DialContext.
func (d *wireDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// DialContext implements pq.DialerContext.
func (d *wireDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.last = conn
	return conn, nil
}

// pgConn is the driver's connection with a cache of statements and with deadlines.
//
// The driver would answer a call that ends early by dialling the server once more and asking it to stop, and wait for that:
// when the server is a black hole, for far longer than its caller can. Here the deadline is the socket's own, a cancelled
// call moves it to the past, and a connection that was cut off so is not used again. What the server still does is bounded
// by its statement_timeout.
type pgConn struct {
	driver.Conn
	wire  net.Conn
	stmts *stmtCache
	dead  atomic.Bool
}

var (
	_ driver.QueryerContext  = (*pgConn)(nil)
	_ driver.ExecerContext   = (*pgConn)(nil)
	_ driver.Validator       = (*pgConn)(nil)
	_ driver.SessionResetter = (*pgConn)(nil)
)

// watch bounds what the connection does by the deadline and the cancellation of a call, until leave is called with the
// call's error, which it explains.
func (c *pgConn) watch(call callContext) (leave func(error) error, err error) {
	if c.dead.Load() {
		return nil, driver.ErrBadConn
	}
	if err := call.caller.Err(); err != nil {
		return nil, err
	}
	if err := c.wire.SetDeadline(call.deadline()); err != nil {
		c.dead.Store(true)
		return nil, driver.ErrBadConn
	}
	stop := context.AfterFunc(call.caller, func() {
		c.dead.Store(true)
		_ = c.wire.SetDeadline(time.Unix(1, 0)) // fails only where the connection is closed
	})
	return func(err error) error {
		if !stop() && err != nil {
			return fmt.Errorf("%w: %w", call.caller.Err(), err)
		}
		if isLost(err) {
			c.dead.Store(true)
		}
		return err
	}, nil
}

// QueryContext implements driver.QueryerContext.
func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	leave, err := c.watch(callOf(ctx))
	if err != nil {
		return nil, err
	}
	rows, err := c.query(query, args)
	if err != nil {
		return nil, leave(err)
	}
	return &pgRows{Rows: rows, leave: leave}, nil
}

func (c *pgConn) query(query string, args []driver.NamedValue) (driver.Rows, error) {
	stmt, err := c.stmts.get(query, c.prepare)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(context.Background(), args)
	c.forgetStale(query, err)
	return rows, err
}

// ExecContext implements driver.ExecerContext. A text without arguments may hold several statements.
func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	leave, err := c.watch(callOf(ctx))
	if err != nil {
		return nil, err
	}
	res, err := c.exec(query, args)
	return res, leave(err)
}

func (c *pgConn) exec(query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 {
		return c.Conn.(driver.ExecerContext).ExecContext(context.Background(), query, nil)
	}
	stmt, err := c.stmts.get(query, c.prepare)
	if err != nil {
		return nil, err
	}
	res, err := stmt.(driver.StmtExecContext).ExecContext(context.Background(), args)
	c.forgetStale(query, err)
	return res, err
}

func (c *pgConn) prepare(query string) (driver.Stmt, error) { return c.Prepare(rebind(query)) }

// forgetStale drops a statement that another process's migration has outdated.
func (c *pgConn) forgetStale(query string, err error) {
	if pq.As(err, pqerror.FeatureNotSupported, pqerror.InvalidSQLStatementName) != nil {
		c.stmts.forget(query)
	}
}

// IsValid implements driver.Validator.
func (c *pgConn) IsValid() bool { return !c.dead.Load() && c.Conn.(driver.Validator).IsValid() }

// ResetSession implements driver.SessionResetter.
func (c *pgConn) ResetSession(ctx context.Context) error {
	if c.dead.Load() {
		return driver.ErrBadConn
	}
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

// Close says good-bye to the server, if it still listens.
func (c *pgConn) Close() error {
	if err := c.wire.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return nil //nolint:nilerr // it is closed already
	}
	return c.Conn.Close()
}

// pgRows are watched until they are closed.
type pgRows struct {
	driver.Rows
	leave func(error) error // nil once it was called
}

// Next implements driver.Rows.
func (r *pgRows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err == nil || err == io.EOF { //nolint:errorlint // the end of the rows, as it is; the driver has other errors for the connection's
		return err
	}
	return r.end(err)
}

// Close implements driver.Rows.
func (r *pgRows) Close() error { return r.end(r.Rows.Close()) }

func (r *pgRows) end(err error) error {
	if r.leave == nil {
		return err
	}
	leave := r.leave
	r.leave = nil
	return leave(err)
}
