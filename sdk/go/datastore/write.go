package datastore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
)

// row is a document as it is stored.
type row struct {
	id  string
	doc string
}

// Create stores documents that are new, all or none of them.
//
// Errors: Conflict where an id is taken; Invalid for a document that can't be stored; Unavailable.
func (c *Collection[T]) Create(ctx context.Context, docs ...T) error {
	return c.insert(ctx, docs, "ON CONFLICT (id) DO NOTHING")
}

// Upsert stores documents in place of those that have their ids, if there are any: all or none of them.
//
// Errors: Invalid for a document that can't be stored; Unavailable.
func (c *Collection[T]) Upsert(ctx context.Context, docs ...T) error {
	return c.insert(ctx, docs, "ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, updated_at = excluded.updated_at")
}

func (c *Collection[T]) insert(ctx context.Context, docs []T, conflict string) error {
	rows := make([]row, len(docs))
	for i, doc := range docs {
		r, err := c.encode(doc)
		if err != nil {
			return err
		}
		rows[i] = r
	}
	query := fmt.Sprintf("INSERT INTO %s (id, doc, created_at, updated_at) VALUES (?, ?, ?, ?) %s", c.table, conflict)
	return c.db.Write(ctx, func(tx *sqldb.Tx) error {
		now := sqldb.Time(time.Now())
		for _, r := range rows {
			n, err := tx.Exec(ctx, query, r.id, r.doc, now, now)
			if err != nil {
				return fmt.Errorf("insert document: %w", err)
			}
			if n == 0 {
				return errs.Conflictf("there is a document with the id %q already", r.id)
			}
		}
		return nil
	})
}

// Update changes a document: change gets it as it is, and what it makes of it is stored, unless it returns an error, which
// comes back as it is. No other write happens in between. Change may be called more than once, each time with the document as it is
// then; it must not use the collection, and do nothing slow. The id can't be changed.
//
// Update answers the document that was stored.
//
// Errors: NotFound; Invalid for a document that can't be stored; Unavailable.
func (c *Collection[T]) Update(ctx context.Context, id string, change func(*T) error) (T, error) {
	var doc T
	err := c.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if doc, err = c.get(ctx, tx, id); err != nil {
			return err
		}
		if err := change(&doc); err != nil {
			return err
		}
		r, err := c.encode(doc)
		if err != nil {
			return err
		}
		if r.id != id {
			return errs.Field("id", "constant", "can't be changed: it is %q", id)
		}
		_, err = tx.Exec(ctx, "UPDATE "+c.table+" SET doc = ?, updated_at = ? WHERE id = ?", r.doc, sqldb.Time(time.Now()), id)
		if err != nil {
			return fmt.Errorf("update document: %w", err)
		}
		return nil
	})
	if err != nil {
		var none T
		return none, err
	}
	return doc, nil
}

// Delete deletes a document. Errors: NotFound; Unavailable.
func (c *Collection[T]) Delete(ctx context.Context, id string) error {
	n, err := c.delete(ctx, "id = ?", id)
	if err == nil && n == 0 {
		return notFound(id)
	}
	return err
}

// DeleteWhere deletes the documents that a filter wants, and tells how many these were. A filter that wants everything is
// refused: it is more often a mistake than meant.
//
// Errors: Invalid; Unavailable.
func (c *Collection[T]) DeleteWhere(ctx context.Context, filter Filter) (int64, error) {
	s := c.statement()
	where, err := s.where(filter)
	if err != nil {
		return 0, err
	}
	if where == everything {
		return 0, errs.Invalidf("the filter wants everything: name at least one condition")
	}
	return c.delete(ctx, where, s.args...)
}

func (c *Collection[T]) delete(ctx context.Context, where string, args ...any) (n int64, err error) {
	err = c.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if n, err = tx.Exec(ctx, "DELETE FROM "+c.table+" WHERE "+where, args...); err != nil {
			return fmt.Errorf("delete documents: %w", err)
		}
		return nil
	})
	return n, err
}

func notFound(id string) error { return errs.NotFoundf("there is no document with the id %q", id) }

// encode gives the row of a document, which it may change: it is the caller's copy.
func (c *Collection[T]) encode(doc T) (row, error) {
	v := reflect.ValueOf(&doc).Elem()
	c.shape.utc(v)
	id := c.id(doc)
	if err := checkID(id); err != nil {
		return row{}, err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		if m, ok := errors.AsType[*errs.Error](err); ok {
			return row{}, m
		}
		return row{}, errs.Invalidf("the document can't be written as JSON").Because(err)
	}
	if err := storable(b); err != nil {
		return row{}, err
	}
	return row{id, string(b)}, c.checkIndexed(v)
}

// checkIndexed refuses what does not fit into an index.
func (c *Collection[T]) checkIndexed(doc reflect.Value) error {
	for _, index := range c.indexes {
		size := 0
		for _, f := range index {
			if f.kind != text {
				continue
			}
			if v := reflect.Indirect(doc.FieldByIndex(f.index)); v.IsValid() {
				size += v.Len()
			}
			if size > MaxIndexed {
				return errs.Field(f.name, "max", "is indexed, and must be shorter: at most %d bytes in all", MaxIndexed)
			}
		}
	}
	return nil
}
