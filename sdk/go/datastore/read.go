package datastore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
)

// Get gives the document with an id. Errors: NotFound; Unavailable.
func (c *Collection[T]) Get(ctx context.Context, id string) (T, error) {
	return c.get(ctx, c.db, id)
}

func (c *Collection[T]) get(ctx context.Context, from sqldb.Reader, id string) (T, error) {
	var doc, none T
	if checkID(id) != nil {
		return none, notFound(id)
	}
	err := from.QueryRow(ctx, "SELECT doc FROM "+c.table+" WHERE id = ?", id).Scan(sqldb.ScanJSON(&doc))
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return none, notFound(id)
	case err != nil:
		return none, fmt.Errorf("get document: %w", err)
	}
	return doc, nil
}

// Count tells how many documents a filter wants. Errors: Invalid; Unavailable.
func (c *Collection[T]) Count(ctx context.Context, filter Filter) (int, error) {
	s := c.statement()
	where, err := s.where(filter)
	if err != nil {
		return 0, err
	}
	// Not QueryRow: a count may take long, and then its caller must be able to leave.
	counts, err := sqldb.All(ctx, c.db, scanCount, "SELECT count(*) FROM "+c.table+" WHERE "+where, s.args...)
	if err != nil {
		return 0, fmt.Errorf("count documents: %w", err)
	}
	return counts[0], nil
}

// Query gives a page of documents, and the cursor of the next page, which is empty where this is the last.
//
// Errors: Invalid for a query that can't be, with a detail that names the field; Unavailable.
func (c *Collection[T]) Query(ctx context.Context, q Query) (docs []T, next string, err error) {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return nil, "", errs.Field("limit", "range", "must be between 1 and %d, or 0 for %d", MaxLimit, DefaultLimit)
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	s := c.statement()
	keys, err := s.keys(q.OrderBy)
	if err != nil {
		return nil, "", err
	}
	where, err := s.where(q.Where)
	if err != nil {
		return nil, "", err
	}
	if q.After != "" {
		place, err := decodeCursor(keys, q.After)
		if err != nil {
			return nil, "", err
		}
		where += " AND " + s.after(keys, place)
	}
	// One more than wanted tells whether there is a next page.
	found, err := sqldb.All(ctx, c.db, scanRow, "SELECT id, doc FROM "+c.table+" WHERE "+where+s.orderBy(keys)+sqldb.Limit,
		append(s.args, q.Limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("query documents: %w", err)
	}
	page := found[:min(len(found), q.Limit)]
	docs = make([]T, len(page))
	for i, r := range page {
		if err := json.Unmarshal([]byte(r.doc), &docs[i]); err != nil {
			return nil, "", fmt.Errorf("decode document: %w", err)
		}
	}
	if len(found) > len(page) {
		last := len(page) - 1
		next, err = c.cursor(keys, page[last].id, docs[last])
	}
	return docs, next, err
}

// cursor gives the place of a document in an order.
func (c *Collection[T]) cursor(keys []key, id string, doc T) (string, error) {
	place := []value{}
	for _, k := range keys[:len(keys)-1] {
		v, err := k.field.of(reflect.ValueOf(doc))
		if err != nil {
			return "", err
		}
		place = append(place, v)
	}
	return encodeCursor(keys, append(place, &id))
}

func (c *Collection[T]) statement() *statement {
	return &statement{shape: c.shape, dialect: c.dialect}
}

func scanRow(from sqldb.Scanner) (r row, err error) {
	err = from.Scan(&r.id, &r.doc)
	return r, err
}

func scanCount(from sqldb.Scanner) (n int, err error) {
	err = from.Scan(&n)
	return n, err
}
