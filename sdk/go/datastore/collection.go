package datastore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
)

// Bounds of what the databases put into an index.
const (
	MaxID      = 255  // bytes of an id
	MaxIndexed = 2000 // bytes of the texts of an index together
)

// DB is an open database. Any number of collections may share it.
type DB = sqldb.DB

// Open opens the database that a URL names: "sqlite:<file>", or "postgres://user:password@host/database". Close it when
// its collections are no longer used.
//
// Errors are one line for the operator. Postgres is not dialled before the first call.
func Open(ctx context.Context, url string) (*DB, error) {
	return sqldb.Open(ctx, sqldb.Config{URL: url})
}

// Collection keeps documents of one type in a table. It is safe for concurrent use, also by several processes.
type Collection[T any] struct {
	db      *DB
	table   string
	shape   *shape
	dialect dialect
	id      func(T) string
	indexes [][]*field
}

// Option changes a collection.
type Option func(*options)

type options struct {
	id      any // func(T) string
	indexes [][]string
}

// WithID tells how to get a document's id, for a type that has no field of its own for it.
func WithID[T any](id func(T) string) Option {
	return func(o *options) { o.id = id }
}

// WithIndex makes queries faster that compare or sort by the fields, in this order. It is made when it is missing, which
// takes its time on a large collection.
func WithIndex(fields ...string) Option {
	return func(o *options) { o.indexes = append(o.indexes, fields) }
}

// collections are names that make plain names of tables.
var collections = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// NewCollection opens a collection of documents of type T, a struct, and makes its table and indexes where they are missing.
// The id is the field with the tag `datastore:"id"`, else the one that is "id" in JSON, else what WithID says; it must be a text.
//
// Errors: what is wrong with the name, the type or the options, all at once; Unavailable.
func NewCollection[T any](ctx context.Context, db *DB, name string, opts ...Option) (*Collection[T], error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	c := &Collection[T]{db: db, table: "docs_" + name, dialect: dialectOf(db)}
	if err := c.configure(name, o); err != nil {
		return nil, fmt.Errorf("collection %s: %w", name, err)
	}
	if err := db.Write(ctx, func(tx *sqldb.Tx) error { return c.create(ctx, tx) }); err != nil {
		return nil, fmt.Errorf("create collection %s: %w", name, err)
	}
	return c, nil
}

// configure checks everything that does not take the database.
func (c *Collection[T]) configure(name string, o options) error {
	t := reflect.TypeFor[T]()
	s, err := describe(t)
	if err != nil {
		return err
	}
	c.shape = s
	var wrong []error
	if !collections.MatchString(name) {
		wrong = append(wrong, errors.New("the name must be 1 to 40 of a-z, 0-9 and _, and begin with a letter"))
	}
	wrong = append(wrong, c.configureID(t, o.id))
	for _, names := range o.indexes {
		var index []*field
		for _, n := range names {
			f, err := s.field(n)
			wrong = append(wrong, err)
			index = append(index, f)
		}
		if len(names) == 0 {
			wrong = append(wrong, errors.New("an index must have fields"))
		}
		c.indexes = append(c.indexes, index)
	}
	return errors.Join(wrong...)
}

func (c *Collection[T]) configureID(t reflect.Type, given any) error {
	if given != nil {
		id, ok := given.(func(T) string)
		if !ok {
			return fmt.Errorf("WithID was given a %T, which is not for %s", given, t)
		}
		c.id = id
		return nil
	}
	f := c.shape.fields["id"]
	for _, one := range c.shape.fields {
		if t.FieldByIndex(one.index).Tag.Get("datastore") == "id" {
			f = one
		}
	}
	if f == nil || f.kind != text || f.nullable {
		return fmt.Errorf("%s has no id: give a field of kind string the tag `datastore:\"id\"`, or use WithID", t)
	}
	f.isID = true
	c.id = func(doc T) string { return reflect.ValueOf(doc).FieldByIndex(f.index).String() }
	return nil
}

// create makes what is missing.
func (c *Collection[T]) create(ctx context.Context, tx *sqldb.Tx) error {
	statements := []string{fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (
		id TEXT%s NOT NULL PRIMARY KEY, doc %s NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL)`,
		c.table, c.dialect.bytewise(), c.dialect.document())}
	for _, index := range c.indexes {
		statements = append(statements, c.createIndex(index))
	}
	if lock := c.dialect.lock(); lock != "" {
		statements = append([]string{lock}, statements...)
	}
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// createIndex names the index after what it holds, so that another one is another.
func (c *Collection[T]) createIndex(fields []*field) string {
	var parts []string
	for _, f := range fields {
		part := "(" + expr(c.dialect, f) + ")"
		if f.nullable {
			part += c.dialect.nullsInIndex()
		}
		parts = append(parts, part)
	}
	all := strings.Join(append(parts, "id"), ", ")
	sum := sha256.Sum256([]byte(all))
	return fmt.Sprintf("CREATE INDEX IF NOT EXISTS %s_%s ON %s (%s)", c.table, hex.EncodeToString(sum[:6]), c.table, all)
}

// checkID tells whether a text may be an id.
func checkID(id string) error {
	switch {
	case id == "":
		return errs.Field("id", "required", "must not be empty")
	case len(id) > MaxID:
		return errs.Field("id", "max", "must have at most %d bytes", MaxID)
	case !utf8.ValidString(id) || strings.ContainsRune(id, 0):
		return errs.Field("id", "text", "must be UTF-8 without the character U+0000")
	}
	return nil
}
