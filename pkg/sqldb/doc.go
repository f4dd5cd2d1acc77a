// Package sqldb is a thin layer on database/sql with which a store is written once and runs on SQLite, where a single
// process is wanted, and on Postgres.
//
// # Reading and writing
//
// [DB.Query] and [DB.QueryRow] read; each statement is prepared once on each connection. [DB.Write] runs a function in a
// transaction and answers when what it did is durable. Writers see each other's work as if they ran one after the other:
// on Postgres by SERIALIZABLE and a retry, on SQLite because one connection writes. That connection commits in groups:
// the functions that wait share one transaction, and so one fsync, each in a savepoint of its own.
//
// # One SQL for both
//
// Placeholders are "?" everywhere. What else the two databases see differently is levelled here: LIKE is case-sensitive,
// "text" in double quotes is always a name, foreign keys are enforced, reads cannot write, and a statement that fails
// ends its transaction. Times are stored as microseconds in BIGINT ([Time], [ScanTime]), JSON as TEXT ([JSON], [ScanJSON]),
// bytes as BYTEA. Both know RETURNING, ON CONFLICT, TRUE and FALSE. Where a migration must differ, see [Migrate].
//
// # Time and errors
//
// No call waits for ever. A full pool answers after a second, a database that does not answer after [Config.Timeout]; such
// errors are of the kind errs.Unavailable ([IsUnavailable]), with the driver's error as their cause. [IsUnique] tells which
// columns a duplicate broke, in the same words on both. [ErrNoRows] is database/sql's.
package sqldb
