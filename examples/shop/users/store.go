package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"
)

// store is the service's own database.
type store struct {
	db     *sql.DB
	sqlite bool
}

// schema is made where there is none; %s is what gives a row its number.
const schema = `CREATE TABLE IF NOT EXISTS users (id %s, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE)`

// open opens a database: postgres://… or an SQLite file.
func open(dsn string) (*store, error) {
	s := &store{sqlite: !strings.HasPrefix(dsn, "postgres://")}
	driver, serial := "postgres", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
	if s.sqlite {
		driver, serial = "sqlite", "INTEGER PRIMARY KEY AUTOINCREMENT"
		dsn = "file:" + dsn + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)"
	}
	var err error
	if s.db, err = sql.Open(driver, dsn); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if s.sqlite {
		s.db.SetMaxOpenConns(1) // SQLite has one writer
	}
	if _, err := s.db.ExecContext(context.Background(), fmt.Sprintf(schema, serial)); err != nil {
		return nil, fmt.Errorf("make tables: %w", err)
	}
	return s, nil
}

// text is a statement as the database wants it: SQLite numbers parameters with another sign.
func (s *store) text(statement string) string {
	if s.sqlite {
		return strings.ReplaceAll(statement, "$", "?")
	}
	return statement
}

func (s *store) row(ctx context.Context, statement string, args ...any) *sql.Row {
	return s.db.QueryRowContext(ctx, s.text(statement), args...)
}

func (s *store) each(ctx context.Context, statement string, take func(scan func(...any) error) error, args ...any) error {
	rows, err := s.db.QueryContext(ctx, s.text(statement), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
