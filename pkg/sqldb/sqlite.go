package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
)

// sqliteBusy is how long a connection waits for another process that writes the same file.
const sqliteBusy = 1 * time.Second

// openSQLite opens the file with one connection that writes and several that read.
func openSQLite(ctx context.Context, cfg Config, path string) (*DB, error) {
	file, err := sqliteFile(path)
	if err != nil {
		return nil, err
	}
	if err := prepareFile(file); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, plain(err))
	}
	group := newGroup(sql.OpenDB(sqliteConnector(file, "journal_size_limit(67108864)")), cfg.Logger)
	if err := group.start(ctx); err != nil {
		return nil, fmt.Errorf("database %s: %w", file, err)
	}
	readers := cmp.Or(cfg.MaxConns, DefaultSQLiteReaders)
	pool := sql.OpenDB(sqliteConnector(file, "query_only(ON)"))
	pool.SetMaxOpenConns(readers)
	pool.SetMaxIdleConns(readers)
	return &DB{dialect: SQLite, pool: pool, slots: make(slots, readers), timeout: cfg.Timeout, writer: group, outgoing: newSignal()}, nil
}

// sqliteFile reads what follows "sqlite:" in a URL.
func sqliteFile(path string) (string, error) {
	if strings.HasPrefix(path, "///") {
		path = path[2:]
	}
	switch {
	case path == "" || strings.HasPrefix(path, "//") || strings.HasSuffix(path, "/"):
		return "", errors.New("database URL: sqlite:<file> needs the path of a file")
	case strings.HasPrefix(path, ":") || strings.ContainsAny(path, "?\x00"):
		return "", errors.New("database URL: sqlite:<file> takes a plain path, without parameters")
	}
	return filepath.Abs(path)
}

// prepareFile makes sure that the file is there, is ours alone, and that its name survives a power cut.
// SQLite gives the files that it puts beside it (-wal, -shm) the same mode.
func prepareFile(file string) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("folder %s: %w", dir, plain(err))
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("folder %s is not writable: %w", dir, plain(err))
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("folder %s: %w", dir, plain(err))
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return plain(err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, name := range []string{file, file + "-wal", file + "-shm"} {
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return plain(err)
		}
	}
	return syncDir(dir)
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return plain(err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// plain drops the path from an error whose text names it already.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// connectorFunc is a driver.Connector.
type connectorFunc func(context.Context) (driver.Conn, error)

// Connect implements driver.Connector.
func (f connectorFunc) Connect(ctx context.Context) (driver.Conn, error) { return f(ctx) }

// Driver implements driver.Connector. Nothing of ours asks a pool for it.
func (f connectorFunc) Driver() driver.Driver { return nil }

// sqliteConnector opens connections to the file with the pragmas that all share, followed by own.
func sqliteConnector(file, own string) driver.Connector {
	params := url.Values{
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", sqliteBusy.Milliseconds()),
			"journal_mode(WAL)",
			"synchronous(FULL)", // each commit is synced: it outlives a power cut
			"foreign_keys(ON)",
			"case_sensitive_like(ON)",
			"temp_store(MEMORY)",
			"cache_size(-8000)", // KiB, used as needed
			own,
		},
		"_dqs":      {"0"}, // a misspelt name in double quotes is an error, not a text
		"_error_rc": {"1"},
	}
	dsn := (&url.URL{Scheme: "file", Path: file, RawQuery: params.Encode()}).String()
	return connectorFunc(func(context.Context) (driver.Conn, error) {
		inner, err := new(sqlite.Driver).Open(dsn)
		if err != nil {
			return nil, err
		}
		return &sqliteConn{Conn: inner, stmts: newStmtCache()}, nil
	})
}

// sqliteConn is the driver's connection with a cache of statements.
type sqliteConn struct {
	driver.Conn
	stmts *stmtCache
}

var (
	_ driver.QueryerContext  = (*sqliteConn)(nil)
	_ driver.ExecerContext   = (*sqliteConn)(nil)
	_ driver.Validator       = (*sqliteConn)(nil)
	_ driver.SessionResetter = (*sqliteConn)(nil)
)

// QueryContext implements driver.QueryerContext. A query that may take long is interrupted when its caller has gone.
func (c *sqliteConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	stmt, err := c.stmts.get(query, c.Prepare)
	if err != nil {
		return nil, err
	}
	call := callOf(ctx)
	if call.point || call.writes {
		return stmt.(driver.StmtQueryContext).QueryContext(context.Background(), args)
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(call.caller, args)
	if err != nil {
		return nil, err
	}
	return &sqliteRows{Rows: rows, ctx: call.caller}, nil
}

// ExecContext implements driver.ExecerContext. Nothing interrupts it: SQLite would roll the whole transaction back,
// and with it what other callers wrote.
func (c *sqliteConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	stmt, err := c.stmts.get(query, c.Prepare)
	if err != nil {
		return nil, err
	}
	res, err := stmt.(driver.StmtExecContext).ExecContext(context.Background(), args)
	if res == nil && err == nil { // the text held no statement
		return driver.RowsAffected(0), nil
	}
	return res, err
}

// IsValid implements driver.Validator.
func (c *sqliteConn) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

// ResetSession implements driver.SessionResetter.
func (c *sqliteConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

// Close closes the statements, which would keep the file open, and the connection.
func (c *sqliteConn) Close() error {
	c.stmts.close()
	return c.Conn.Close()
}

// sqliteRows end when their caller has gone.
type sqliteRows struct {
	driver.Rows
	ctx context.Context // of the call whose rows these are
}

// Next implements driver.Rows.
func (r *sqliteRows) Next(dest []driver.Value) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	return r.Rows.Next(dest)
}
