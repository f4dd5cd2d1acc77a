package datastore_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/sdk/go/datastore"
)

func TestQueriesThatCannotBe(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Create(t.Context(), pet{ID: "a"}, pet{ID: "b"}))
		_, byAge, err := pets.Query(t.Context(), datastore.Query{OrderBy: []datastore.Order{datastore.Asc("age")}, Limit: 1})
		must(t, err)
		many := make([]datastore.Filter, 300)
		where := func(f datastore.Filter) datastore.Query { return datastore.Query{Where: f} }
		forged := func(s string) datastore.Query {
			return datastore.Query{OrderBy: []datastore.Order{datastore.Asc("age")}, After: base64.RawURLEncoding.EncodeToString([]byte(s))}
		}
		for name, c := range map[string]struct {
			query datastore.Query
			field string
		}{
			"unknown field":         {where(datastore.Eq("nme", 1)), "nme"},
			"SQL for a field":       {where(datastore.Eq("age) OR 1=1 --", 1)), "age) OR 1=1 --"},
			"SQL for an order":      {datastore.Query{OrderBy: []datastore.Order{datastore.Asc("id; DROP TABLE docs_pets")}}, "id; DROP TABLE docs_pets"},
			"slice":                 {where(datastore.Eq("tags", "x")), "tags"},
			"map":                   {where(datastore.Eq("extra.deep", "x")), "extra.deep"},
			"whole struct":          {where(datastore.Eq("owner", "x")), "owner"},
			"text for a number":     {where(datastore.Gt("age", "3")), "age"},
			"number for a text":     {where(datastore.Eq("kind", 3)), "kind"},
			"number for a boolean":  {where(datastore.Eq("good", 1)), "good"},
			"text for a time":       {where(datastore.Lt("born", "2020-01-01")), "born"},
			"nil for a text":        {where(datastore.Eq("kind", nil)), "kind"},
			"less than nil":         {where(datastore.Lt("nick", nil)), "nick"},
			"part of a number":      {where(datastore.Prefix("age", "1")), "age"},
			"one of other kinds":    {where(datastore.In("age", any(1), any("x"))), "age"},
			"U+0000":                {where(datastore.Eq("kind", "a\x00")), "kind"},
			"no UTF-8":              {where(datastore.Contains("kind", "\xff")), "kind"},
			"negative limit":        {datastore.Query{Limit: -1}, "limit"},
			"high limit":            {datastore.Query{Limit: datastore.MaxLimit + 1}, "limit"},
			"no cursor":             {datastore.Query{After: "%"}, "after"},
			"cursor of another":     {datastore.Query{After: byAge}, "after"},
			"cursor of no JSON":     {forged("x"), "after"},
			"cursor without values": {forged(`{"o":"age id ","p":[]}`), "after"},
			"cursor of nil":         {forged(`{"o":"age id ","p":[null,"a"]}`), "after"},
			"cursor of SQL":         {forged(`{"o":"age id ","p":["1 OR 1=1","a"]}`), "after"},
			"cursor of infinity":    {forged(`{"o":"age id ","p":["1e999","a"]}`), "after"},
			"too many parts":        {where(datastore.Or(many...)), ""},
		} {
			_, _, err := pets.Query(t.Context(), c.query)
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%s: error is %v", name, err)
				continue
			}
			if d := errs.From(err).Details; c.field != "" && (len(d) != 1 || d[0].Field != c.field) {
				t.Errorf("%s: details are %+v, want the field %q", name, d, c.field)
			}
		}
		if n, err := pets.Count(t.Context(), datastore.Filter{}); n != 2 || err != nil {
			t.Errorf("there are %d, %v", n, err)
		}
	})
}

// TestIntegersAreComparedWithFloats exactly, also where a float's shortest text is another integer.
func TestIntegersAreComparedWithFloats(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		const large = 1 << 62 // whose shortest text as a float ends in 8000, not in 7904
		must(t, pets.Create(t.Context(), pet{ID: "a", Age: large}, pet{ID: "b", Age: large + 50}, pet{ID: "c", Age: 2}, pet{ID: "d", Age: 3}))
		for want, f := range map[string]datastore.Filter{
			"a":   datastore.Eq("age", float64(large)),
			"b":   datastore.Gt("age", float64(large)),
			"c":   datastore.Le("age", 2.5),
			"":    datastore.Gt("age", 1e300),
			"c d": datastore.And(datastore.Ge("age", float32(1.5)), datastore.Lt("age", uint8(4))),
		} {
			got, _, err := pets.Query(t.Context(), datastore.Query{Where: f})
			if names := strings.Join(ids(got), " "); err != nil || names != want {
				t.Errorf("%+v: got %q, want %q (%v)", f, names, want, err)
			}
		}
	})
}

func TestInTakesThousands(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Create(t.Context(), pet{ID: "a", Age: 7}, pet{ID: "b", Age: 70_000}))
		ages := make([]int, 50_000)
		for i := range ages {
			ages[i] = i
		}
		if n, err := pets.Count(t.Context(), datastore.In("age", ages...)); n != 1 || err != nil {
			t.Errorf("found %d, %v", n, err)
		}
	})
}

// TestPagesSkipNothingWhileOthersWrite: documents that stay are seen once, whatever comes and goes around them.
func TestPagesSkipNothingWhileOthersWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		var stay []string
		for i := range 20 {
			must(t, pets.Create(t.Context(), pet{ID: fmt.Sprintf("stay%02d", i), Age: i / 4}, pet{ID: fmt.Sprintf("go%02d", i), Age: i / 4}))
			stay = append(stay, fmt.Sprintf("stay%02d", i))
		}
		var got []string
		q := datastore.Query{OrderBy: []datastore.Order{datastore.Desc("age")}, Limit: 3}
		for page := 0; page == 0 || q.After != ""; page++ {
			found, next, err := pets.Query(t.Context(), q)
			must(t, err)
			got = append(got, ids(found)...)
			q.After = next
			if page < 10 {
				must(t, pets.Delete(t.Context(), fmt.Sprintf("go%02d", page*2)))
				must(t, pets.Create(t.Context(), pet{ID: fmt.Sprintf("come%02d", page), Age: page % 5}))
			}
		}
		got = slices.DeleteFunc(got, func(id string) bool { return !strings.HasPrefix(id, "stay") })
		slices.Sort(got)
		if diff := cmp.Diff(stay, got); diff != "" {
			t.Errorf("documents that stay (-want +got):\n%s", diff)
		}
	})
}

// TestFieldsFollowEncodingJSON: what is embedded, renamed, hidden or ambiguous.
func TestFieldsFollowEncodingJSON(t *testing.T) {
	type Base struct {
		Hidden string `json:"name"` // the outer name is less deep
		Level  int
	}
	type Left struct{ Both string }
	type Right struct{ Both string }
	type document struct {
		Base
		Left
		Right
		ID       string
		Name     string        `json:"name"`
		Secret   string        `json:"-"`
		Quoted   int           `json:",string"`
		Duration time.Duration `json:"took"`
		Big      uint64
		Status   status
		private  string
	}
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		docs := collection[document](t, db, "docs", datastore.WithID(func(d document) string { return d.ID }))
		must(t, docs.Create(t.Context(),
			document{ID: "1", Name: "outer", Base: Base{Hidden: "inner", Level: 3}, Duration: time.Second, Status: "on", private: "x"}))
		for name, f := range map[string]datastore.Filter{
			"the less deep name": datastore.Eq("name", "outer"),
			"embedded":           datastore.Eq("Level", int8(3)),
			"named types":        datastore.And(datastore.Eq("took", time.Second), datastore.Eq("Status", "on"), datastore.Eq("Status", status("on"))),
			"pointers":           datastore.Eq("Level", new(3)),
			"id":                 datastore.Eq("ID", "1"),
		} {
			if n, err := docs.Count(t.Context(), f); n != 1 || err != nil {
				t.Errorf("%s: found %d, %v", name, n, err)
			}
		}
		for _, field := range []string{"Both", "Secret", "Quoted", "Big", "private", "Base", "id"} {
			_, err := docs.Count(t.Context(), datastore.Eq(field, "x"))
			wantKind(t, err, errs.Invalid)
		}
	})
}

type status string

// TestTypesGrow: a field that is added has its zero value in the documents that were stored before.
func TestTypesGrow(t *testing.T) {
	type old struct {
		ID string `json:"id"`
	}
	type grown struct {
		ID   string `json:"id"`
		Size int    `json:"size"`
		Name string `json:"name"`
	}
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		must(t, collection[old](t, db, "things").Create(t.Context(), old{"a"}, old{"c"}))
		things := collection[grown](t, db, "things", datastore.WithIndex("size", "name"))
		must(t, things.Create(t.Context(), grown{ID: "b", Size: -1}))
		got, _, err := things.Query(t.Context(), datastore.Query{
			Where: datastore.And(datastore.Eq("name", ""), datastore.Le("size", 0)), OrderBy: []datastore.Order{datastore.Asc("size")},
		})
		must(t, err)
		if diff := cmp.Diff([]grown{{"b", -1, ""}, {"a", 0, ""}, {"c", 0, ""}}, got); diff != "" {
			t.Errorf("documents (-want +got):\n%s", diff)
		}
	})
}

// TestIndexServesQueries asks the databases how they would answer.
func TestIndexServesQueries(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		pets := collection[pet](t, db, "pets", datastore.WithIndex("kind", "age"))
		all := make([]pet, 3000)
		for i := range all {
			all[i] = pet{ID: fmt.Sprint(i), Kind: fmt.Sprint(i % 500), Age: i}
		}
		must(t, pets.Create(t.Context(), all...))
		kind, age := `COALESCE(json_extract(doc, '$."kind"'), '')`, `COALESCE(json_extract(doc, '$."age"'), 0)`
		explain := "EXPLAIN QUERY PLAN "
		if db.Dialect() == sqldb.Postgres {
			kind, age = `COALESCE((doc #>> '{kind}'), '') COLLATE "C"`, `COALESCE(CAST((doc #>> '{age}') AS NUMERIC), 0)`
			explain = "EXPLAIN "
			must(t, db.Write(t.Context(), func(tx *sqldb.Tx) error { _, err := tx.Exec(t.Context(), "ANALYZE docs_pets"); return err }))
		}
		plan, err := sqldb.All(t.Context(), db, scanLast, explain+"SELECT doc FROM docs_pets WHERE "+kind+" = '7' ORDER BY "+age+", id LIMIT 10")
		must(t, err)
		if text := strings.Join(plan, "\n"); !strings.Contains(text, "docs_pets_") || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("the plan is\n%s", text)
		}
	})
}

// scanLast reads the last column of a plan.
func scanLast(row sqldb.Scanner) (text string, err error) {
	if err = row.Scan(&text); err != nil {
		var n int
		err = row.Scan(&n, &n, &n, &text)
	}
	return text, err
}

func FuzzCursor(f *testing.F) {
	db := sqldbtest.Open(f, sqldbtest.SQLiteURL(f))
	pets := collection[pet](f, db, "pets")
	order := []datastore.Order{datastore.Desc("weight"), datastore.Asc("nick"), datastore.Asc("born"), datastore.Asc("good")}
	must(f, pets.Create(f.Context(), pet{ID: "a"}, pet{ID: "b", Nick: new("x")}))
	_, next, err := pets.Query(f.Context(), datastore.Query{OrderBy: order, Limit: 1})
	must(f, err)
	seed, err := base64.RawURLEncoding.DecodeString(next)
	must(f, err)
	f.Add(seed)
	f.Add([]byte(`{"o":"-weight nick born good id ","p":["0x1p",null,"2020","TRUE","\ud800"]}`))
	f.Fuzz(func(t *testing.T, forged []byte) {
		_, _, err := pets.Query(t.Context(), datastore.Query{OrderBy: order, After: base64.RawURLEncoding.EncodeToString(forged)})
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v", forged, err)
		}
	})
}
