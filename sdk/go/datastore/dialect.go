package datastore

import (
	"strings"

	"micromesh/pkg/sqldb"
)

// dialect is what the databases say differently.
type dialect interface {
	// lock is a statement that makes others who create the same things wait; empty where all writers wait anyway.
	lock() string
	// document is the type of the column of documents.
	document() string
	// bytewise is the collation of texts that sorts them byte by byte, where that is not the default.
	bytewise() string
	// extract gives a member of the document; NULL where it is missing or null.
	extract(path []string, k kind) string
	// param is a placeholder for the text of a value.
	param(k kind) string
	// elements is a query for the elements of a JSON array, which is its parameter.
	elements(k kind) string
	// position tells where a text has its parameter, counted from 1; 0 is nowhere.
	position(expr string) string
	// nulls says where what is missing sorts: first, or last in a descending order.
	nulls(desc bool) string
	// nullsInIndex says so of an index.
	nullsInIndex() string
}

func dialectOf(db *sqldb.DB) dialect {
	if db.Dialect() == sqldb.Postgres {
		return postgres{}
	}
	return sqlite{}
}

type sqlite struct{}

var _ dialect = sqlite{}

func (sqlite) lock() string     { return "" }
func (sqlite) document() string { return "TEXT" }
func (sqlite) bytewise() string { return "" }

func (sqlite) extract(path []string, _ kind) string {
	return `json_extract(doc, '$."` + strings.Join(path, `"."`) + `"')`
}

// param has numbers read by the code that reads those of documents: another might round them differently.
func (sqlite) param(k kind) string {
	if k == number || k == boolean {
		return "json_extract(?, '$')"
	}
	return "?"
}

func (sqlite) elements(kind) string        { return "SELECT value FROM json_each(?)" }
func (sqlite) position(expr string) string { return "instr(" + expr + ", ?)" }
func (sqlite) nulls(bool) string           { return "" } // they are the least of all anyway
func (sqlite) nullsInIndex() string        { return "" }

type postgres struct{}

var _ dialect = postgres{}

// lock waits for other processes that start: CREATE TABLE IF NOT EXISTS can fail when two do it at once.
func (postgres) lock() string {
	return "SELECT pg_advisory_xact_lock(hashtext('micromesh datastore'))"
}

func (postgres) document() string { return "JSONB" }
func (postgres) bytewise() string { return ` COLLATE "C"` }

func (p postgres) extract(path []string, k kind) string {
	return p.cast("(doc #>> '{"+strings.Join(path, ",")+"}')", k)
}

func (p postgres) param(k kind) string { return p.cast("CAST(? AS TEXT)", k) }

func (p postgres) elements(k kind) string {
	return "SELECT " + p.cast("e.v", k) + " FROM jsonb_array_elements_text(CAST(? AS JSONB)) AS e(v)"
}

func (postgres) cast(expr string, k kind) string {
	switch k {
	case number:
		return "CAST(" + expr + " AS NUMERIC)"
	case boolean:
		return "CAST(" + expr + " AS BOOLEAN)"
	case text, moment:
	}
	return expr
}

func (postgres) position(expr string) string { return "strpos(" + expr + ", CAST(? AS TEXT))" }

func (postgres) nulls(desc bool) string {
	if desc {
		return " NULLS LAST"
	}
	return " NULLS FIRST"
}

func (p postgres) nullsInIndex() string { return p.nulls(false) }

// zeros are the values of fields that a document leaves out.
var zeros = map[kind]string{text: "''", number: "0", boolean: "FALSE", moment: "'0001-01-01T00:00:00'"}

// expr is a field's value in SQL. It must be the same in an index and in the queries that the index serves.
func expr(d dialect, f *field) string {
	if f.isID {
		return "id"
	}
	e := d.extract(f.path, f.kind)
	if f.kind == moment {
		e = "rtrim(" + e + ", 'Z')" // so that a whole second sorts before its fractions
	}
	if !f.nullable {
		e = "COALESCE(" + e + ", " + zeros[f.kind] + ")"
	}
	if f.kind == text || f.kind == moment {
		e += d.bytewise()
	}
	return e
}
