package datastore_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/sdk/go/datastore"
)

type pet struct {
	ID      string         `json:"id"`
	Kind    string         `json:"kind,omitempty"`
	Age     int            `json:"age,omitempty"`
	Weight  float64        `json:"weight"`
	Good    bool           `json:"good,omitempty"`
	Born    time.Time      `json:"born,omitzero"`
	Nick    *string        `json:"nick,omitempty"`
	Chipped *time.Time     `json:"chipped,omitempty"`
	Owner   owner          `json:"owner,omitzero"`
	Tags    []string       `json:"tags,omitempty"`
	Extra   map[string]any `json:"extra,omitempty"`
}

type owner struct {
	Name  string  `json:"name"`
	Score float32 `json:"score"`
}

// onBoth runs a test with an empty collection on each database.
func onBoth(t *testing.T, test func(t *testing.T, pets *datastore.Collection[pet])) {
	t.Helper()
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		test(t, collection[pet](t, db, "pets", datastore.WithIndex("kind", "age"), datastore.WithIndex("chipped")))
	})
}

func collection[T any](t testing.TB, db *sqldb.DB, name string, opts ...datastore.Option) *datastore.Collection[T] {
	t.Helper()
	c, err := datastore.NewCollection[T](t.Context(), db, name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, kind errs.Kind) {
	t.Helper()
	if !errs.Is(err, kind) {
		t.Errorf("error is %v, want one of the kind %s", err, kind.Code())
	}
}

func TestDocumentsComeBackAsTheyWere(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		berlin := time.FixedZone("", 3600)
		want := pet{
			ID: `o'hara?"\ ü`, Kind: "dög <&> \u2028", Age: math.MaxInt64, Weight: 0.1 + 0.2, Good: true,
			Born: time.Date(2020, 1, 2, 3, 4, 5, 6, berlin), Nick: new(""), Chipped: new(time.Date(2021, 1, 1, 0, 0, 0, 0, berlin)),
			Owner: owner{Name: "ann", Score: 0.1}, Tags: []string{"a", ""}, Extra: map[string]any{"deep": []any{1.5, nil, "x"}},
		}
		must(t, pets.Create(t.Context(), want))
		got, err := pets.Get(t.Context(), want.ID)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
		if want.Chipped.Location() != berlin {
			t.Error("the caller's own document was changed")
		}
		if got.Born.Location() != time.UTC {
			t.Errorf("time is in %s", got.Born.Location())
		}
	})
}

func TestCreateRefusesWhatIsTaken(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Create(t.Context(), pet{ID: "rex", Age: 1}))
		wantKind(t, pets.Create(t.Context(), pet{ID: "tom"}, pet{ID: "rex", Age: 2}), errs.Conflict)
		if _, err := pets.Get(t.Context(), "tom"); !errs.Is(err, errs.NotFound) {
			t.Errorf("a part of what was refused is there: %v", err)
		}
		if got, err := pets.Get(t.Context(), "rex"); err != nil || got.Age != 1 {
			t.Errorf("rex is %+v, %v", got, err)
		}
	})
}

func TestUpsertReplaces(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Upsert(t.Context(), pet{ID: "rex", Age: 1, Good: true}))
		must(t, pets.Upsert(t.Context(), pet{ID: "rex", Age: 2}, pet{ID: "tom"}))
		got, err := pets.Get(t.Context(), "rex")
		must(t, err)
		if diff := cmp.Diff(pet{ID: "rex", Age: 2}, got); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
		if n, err := pets.Count(t.Context(), datastore.Filter{}); n != 2 || err != nil {
			t.Errorf("there are %d, %v", n, err)
		}
	})
}

func TestUpdateIsAtomic(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Create(t.Context(), pet{ID: "rex"}))
		const writers, times = 8, 10
		done := make(chan error, writers)
		for range writers {
			go func() {
				var err error
				for range times {
					err = errors.Join(err, older(t.Context(), pets))
				}
				done <- err
			}()
		}
		for range writers {
			must(t, <-done)
		}
		if got, err := pets.Get(t.Context(), "rex"); err != nil || got.Age != writers*times {
			t.Errorf("after %d updates the age is %d (%v)", writers*times, got.Age, err)
		}
	})
}

// older adds a year to rex, and tries again where the database had too much to do.
func older(ctx context.Context, pets *datastore.Collection[pet]) error {
	for {
		_, err := pets.Update(ctx, "rex", func(p *pet) error { p.Age++; return nil })
		if !errs.Is(err, errs.Unavailable) || sqldb.IsUnknown(err) || ctx.Err() != nil {
			return err
		}
	}
}

func TestUpdateKeepsWhatItMayNotChange(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Create(t.Context(), pet{ID: "rex", Age: 1}))
		mine := errors.New("mine")
		for name, c := range map[string]struct {
			id     string
			change func(*pet) error
			want   func(error) bool
		}{
			"an error of its own": {"rex", func(p *pet) error { p.Age = 9; return mine }, func(err error) bool { return errors.Is(err, mine) }},
			"another id":          {"rex", func(p *pet) error { p.ID = "tom"; return nil }, func(err error) bool { return errs.Is(err, errs.Invalid) }},
			"not a number":        {"rex", func(p *pet) error { p.Weight = math.NaN(); return nil }, func(err error) bool { return errs.Is(err, errs.Invalid) }},
			"no such document":    {"tom", func(*pet) error { return nil }, func(err error) bool { return errs.Is(err, errs.NotFound) }},
		} {
			got, err := pets.Update(t.Context(), c.id, c.change)
			if !c.want(err) || got.ID != "" {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
		}
		got, err := pets.Get(t.Context(), "rex")
		must(t, err)
		if diff := cmp.Diff(pet{ID: "rex", Age: 1}, got); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
		changed, err := pets.Update(t.Context(), "rex", func(p *pet) error { p.Age++; return nil })
		if err != nil || changed.Age != 2 {
			t.Errorf("update answers %+v, %v", changed, err)
		}
	})
}

func TestDelete(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		must(t, pets.Create(t.Context(), pet{ID: "rex", Kind: "dog"}, pet{ID: "tom", Kind: "cat"}, pet{ID: "kit", Kind: "cat"}))
		must(t, pets.Delete(t.Context(), "rex"))
		wantKind(t, pets.Delete(t.Context(), "rex"), errs.NotFound)
		for _, all := range []datastore.Filter{{}, datastore.And(), datastore.Or(datastore.Eq("kind", "cat"), datastore.And(datastore.And()))} {
			_, err := pets.DeleteWhere(t.Context(), all)
			wantKind(t, err, errs.Invalid)
		}
		if n, err := pets.DeleteWhere(t.Context(), datastore.Or()); n != 0 || err != nil {
			t.Errorf("nothing is %d, %v", n, err)
		}
		if n, err := pets.DeleteWhere(t.Context(), datastore.Eq("kind", "cat")); n != 2 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
	})
}

func TestRefusesWhatCannotBeStored(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		deep := any("x")
		for range 600 {
			deep = []any{deep}
		}
		for name, p := range map[string]pet{
			"no id":             {},
			"long id":           {ID: strings.Repeat("x", datastore.MaxID+1)},
			"id with U+0000":    {ID: "a\x00"},
			"id of no UTF-8":    {ID: "a\xff"},
			"text with U+0000":  {ID: "x", Tags: []string{"\\\x00"}},
			"infinity":          {ID: "x", Weight: math.Inf(1)},
			"year 10000":        {ID: "x", Born: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
			"deep":              {ID: "x", Extra: map[string]any{"deep": deep}},
			"long indexed text": {ID: "x", Kind: strings.Repeat("x", datastore.MaxIndexed+1)},
			"half a pair":       {ID: "x", Extra: map[string]any{"raw": raw(`"\ud800"`)}},
			"half a pair twice": {ID: "x", Extra: map[string]any{"raw": raw(`"\ud800\ud800"`)}},
		} {
			if err := pets.Create(t.Context(), p); !errs.Is(err, errs.Invalid) {
				t.Errorf("%s: error is %v", name, err)
			}
		}
		must(t, pets.Create(t.Context(), pet{ID: "x", Kind: strings.Repeat("ü", datastore.MaxIndexed/2),
			Tags: []string{`\u0000`, `\`}, Extra: map[string]any{"raw": raw(`"\ud83d\ude00\\ud800"`)}}))
	})
}

type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestReopenedCollectionHasItsDocuments(t *testing.T) {
	urls := map[string]string{"sqlite": sqldbtest.SQLiteURL(t)}
	if u, ok := sqldbtest.PostgresURL(t); ok {
		urls["postgres"] = u
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			for i := range 3 {
				db, err := datastore.Open(t.Context(), url)
				must(t, err)
				pets := collection[pet](t, db, "pets", datastore.WithIndex("age"))
				if n, err := pets.Count(t.Context(), datastore.Filter{}); n != i || err != nil {
					t.Errorf("there are %d, %v; want %d", n, err, i)
				}
				must(t, pets.Create(t.Context(), pet{ID: strings.Repeat("x", i+1)}))
				must(t, db.Close())
				wantKind(t, pets.Create(t.Context(), pet{ID: "late"}), errs.Unavailable)
			}
		})
	}
}

func TestManyOpenTheSameCollectionAtOnce(t *testing.T) {
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		const openers = 8
		done := make(chan error, openers)
		for range openers {
			go func() {
				_, err := datastore.NewCollection[pet](t.Context(), db, "pets", datastore.WithIndex("kind"))
				done <- err
			}()
		}
		for range openers {
			must(t, <-done)
		}
	})
}

func TestIDsOfOtherFields(t *testing.T) {
	type tagged struct {
		ID   int    `json:"id"`
		Slug string `json:"slug" datastore:"id"`
	}
	type computed struct {
		Shop, Number string
	}
	sqldbtest.Run(t, func(t *testing.T, db *sqldb.DB) {
		a := collection[tagged](t, db, "tagged")
		must(t, a.Create(t.Context(), tagged{1, "one"}, tagged{2, "two"}))
		got, _, err := a.Query(t.Context(), datastore.Query{Where: datastore.And(datastore.Eq("id", 2), datastore.Gt("slug", "one"))})
		if diff := cmp.Diff([]tagged{{2, "two"}}, got); diff != "" || err != nil {
			t.Errorf("error %v, documents (-want +got):\n%s", err, diff)
		}
		b := collection[computed](t, db, "computed", datastore.WithID(func(c computed) string { return c.Shop + "/" + c.Number }))
		must(t, b.Create(t.Context(), computed{"x", "1"}))
		if got, err := b.Get(t.Context(), "x/1"); err != nil || got.Number != "1" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestCollectionsThatCannotBe(t *testing.T) {
	type nameless struct{ Name string }
	type embeds struct {
		time.Time
		ID string
	}
	db := sqldbtest.Open(t, sqldbtest.SQLiteURL(t))
	open := func(_ any, err error) error { return err }
	for want, err := range map[string]error{
		"the name must be":       open(datastore.NewCollection[pet](t.Context(), db, `pets"; DROP TABLE x`)),
		"has no id":              open(datastore.NewCollection[nameless](t.Context(), db, "x")),
		"must be a struct":       open(datastore.NewCollection[*pet](t.Context(), db, "x")),
		"does not marshal":       open(datastore.NewCollection[embeds](t.Context(), db, "x")),
		"no_such is not a field": open(datastore.NewCollection[pet](t.Context(), db, "x", datastore.WithIndex("kind", "no_such"))),
		"an index must have":     open(datastore.NewCollection[pet](t.Context(), db, "x", datastore.WithIndex())),
		"which is not for":       open(datastore.NewCollection[pet](t.Context(), db, "x", datastore.WithID(func(nameless) string { return "" }))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}
