package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"micromesh/pkg/errs"
)

// errPoolFull is the cause of an Unavailable error when every connection is in use.
var errPoolFull = errors.New("no connection became free in time")

// errUnknown is in the chain of an error whose write may have been committed or not.
var errUnknown = errors.New("the connection was lost during the commit: its outcome is unknown")

// IsUnavailable tells whether the database could not be reached, was busy, or did not answer in time: what failed may work
// later.
func IsUnavailable(err error) bool { return errs.Is(err, errs.Unavailable) }

// IsUnknown tells whether a write failed in a way that leaves open whether it was committed.
func IsUnknown(err error) bool { return errors.Is(err, errUnknown) }

// IsUnique tells whether a statement failed on a duplicate, and of what: "accounts.slug", or "permits.slug, permits.role" for
// a key of two columns. For an index on an expression it is the index's name.
func IsUnique(err error) (key string, ok bool) {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return pqKey(e), e.Code == pqerror.UniqueViolation
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok || (e.Code() != sqlite3.SQLITE_CONSTRAINT_UNIQUE && e.Code() != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) {
		return "", false
	}
	return sqliteKey(e.Error()), true
}

// pqKey reads the columns from the detail of a violation, which is "Key (a, b)=(1, 2) already exists." in the server's language.
func pqKey(e *pq.Error) string {
	_, rest, _ := strings.Cut(e.Detail, "(")
	list, _, ok := strings.Cut(rest, ")=(")
	if !ok || strings.ContainsAny(list, "(:") { // an expression, or nothing that we know
		return e.Constraint
	}
	columns := strings.Split(list, ", ")
	for i, c := range columns {
		columns[i] = e.Table + "." + strings.Trim(c, `"`)
	}
	return strings.Join(columns, ", ")
}

// sqliteKey reads the columns from "…: UNIQUE constraint failed: t.a, t.b (2067)" or "…: index 'name' (2067)".
func sqliteKey(msg string) string {
	key := msg[strings.LastIndex(msg, ": ")+1:]
	if i := strings.LastIndex(key, " ("); i >= 0 {
		key = key[:i]
	}
	key = strings.TrimSpace(key)
	if name, ok := strings.CutPrefix(key, "index '"); ok {
		return strings.TrimSuffix(name, "'")
	}
	return key
}

// classify gives err the kind Unavailable where the database is away, busy or too slow, and leaves it as it is otherwise.
func classify(err error) error {
	if err == nil || !isAway(err) {
		return err
	}
	return unavailable(err)
}

// unavailable makes an error of the kind Unavailable of any cause.
func unavailable(cause error) error {
	if e, ok := errors.AsType[*errs.Error](cause); ok && e.Kind == errs.Unavailable {
		return cause
	}
	return errs.New(errs.Unavailable, "", "the database cannot answer right now").Because(cause)
}

// isAway tells whether err is about the way to the database or its condition, rather than about a statement.
func isAway(err error) bool {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return pqAway(e.Code)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return sqliteAway(e.Code())
	}
	return isLost(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrConnDone) ||
		strings.HasPrefix(err.Error(), "sql: database is closed")
}

// isLost tells whether err means that a connection is no longer there, or was never made.
func isLost(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

// pqAway tells which of Postgres' errors pass by themselves.
func pqAway(code pqerror.Code) bool {
	if len(code) != 5 {
		return false
	}
	switch code.Class() {
	case pqerror.ClassConnectionException, pqerror.ClassInsufficientResources, pqerror.ClassSystemError:
		return true
	}
	switch code {
	case pqerror.QueryCanceled, pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow,
		pqerror.LockNotAvailable, pqerror.IdleInTransactionSessionTimeout:
		return true
	}
	return mayRetry(code)
}

// mayRetry tells whether Postgres gave up a transaction only because of others that ran beside it.
func mayRetry(code pqerror.Code) bool {
	return code == pqerror.TRSerializationFailure || code == pqerror.TRDeadlockDetected
}

// sqliteAway tells which of SQLite's errors pass by themselves, such as that of a full disk.
func sqliteAway(code int) bool {
	switch code & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}
