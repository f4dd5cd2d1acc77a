package datastore_test

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"micromesh/sdk/go/datastore"
)

// A model of filters and orders in plain Go: what the databases answer must be what it says.

// attribute is a field of pets: how the model reads and compares it, and values to compare it with.
type attribute struct {
	name    string
	get     func(pet) any // nil is missing
	compare func(a, b any) int
	values  *rapid.Generator[any]
}

var (
	texts  = []string{"", "a", "ab", "b", "Z", "é", "aé", "\uD7FF", "\uE000", "a\U0010FFFF", "😀", "%", "_", `\`, `"'`, "12", "true"}
	ints   = []int{0, 1, -1, 7, 10, 1 << 53, 1<<53 + 1, 1<<62 + 1, -1 << 63}
	floats = []float64{0, 0.1, 0.30000000000000004, 0.3, -2.5, 1, 1e21, 123456789012345680000, 1 << 62, 5e-324, 1.7976931348623157e308, 10}
	score  = []float32{0, 0.1, 0.2, 16777216, 3.4e38}
	times  = []time.Time{
		{}, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2020, 1, 1, 0, 0, 0, 500_000_000, time.UTC),
		time.Date(2020, 1, 1, 0, 0, 0, 450_000_000, time.UTC), time.Date(2020, 1, 1, 1, 0, 0, 1, time.FixedZone("", 3600)),
		time.Date(2019, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	}
)

var attributes = []attribute{
	{"id", func(p pet) any { return p.ID }, by[string], anyOf(texts)},
	{"kind", func(p pet) any { return p.Kind }, by[string], anyOf(texts)},
	{"owner.name", func(p pet) any { return p.Owner.Name }, by[string], anyOf(texts)},
	{"nick", func(p pet) any { return deref(p.Nick) }, by[string], anyOf(texts)},
	{"age", func(p pet) any { return p.Age }, by[int], anyOf(ints)},
	{"weight", func(p pet) any { return p.Weight }, by[float64], anyOf(floats)},
	{"owner.score", func(p pet) any { return p.Owner.Score }, by[float32], anyOf(score)},
	{"good", func(p pet) any { return p.Good }, byBool, anyOf([]bool{false, true})},
	{"born", func(p pet) any { return p.Born }, byTime, anyOf(times)},
	{"chipped", func(p pet) any { return deref(p.Chipped) }, byTime, anyOf(times)},
}

func by[V cmp.Ordered](a, b any) int { return cmp.Compare(a.(V), b.(V)) }

func byTime(a, b any) int { return a.(time.Time).Compare(b.(time.Time)) }

func byBool(a, b any) int {
	return cmp.Compare(strconv.FormatBool(a.(bool)), strconv.FormatBool(b.(bool)))
}

func anyOf[V any](values []V) *rapid.Generator[any] {
	return rapid.Map(rapid.SampledFrom(values), func(v V) any { return v })
}

func deref[V any](p *V) any {
	if p == nil {
		return nil
	}
	return *p
}

// compare sorts what is missing first.
func (a attribute) order(p, q pet) int {
	v, w := a.get(p), a.get(q)
	switch {
	case v == nil && w == nil:
		return 0
	case v == nil:
		return -1
	case w == nil:
		return 1
	}
	return a.compare(v, w)
}

func maybe[V any](t *rapid.T, values []V, label string) *V {
	if rapid.Bool().Draw(t, label+" missing") {
		return nil
	}
	return new(rapid.SampledFrom(values).Draw(t, label))
}

func drawPets(t *rapid.T) []pet {
	ids := rapid.SliceOfNDistinct(rapid.SampledFrom(texts[1:]), 0, 12, rapid.ID).Draw(t, "ids")
	pets := make([]pet, len(ids))
	for i, id := range ids {
		pets[i] = pet{
			ID: id, Kind: rapid.SampledFrom(texts).Draw(t, "kind"), Age: rapid.SampledFrom(ints).Draw(t, "age"),
			Weight: rapid.SampledFrom(floats).Draw(t, "weight"), Good: rapid.Bool().Draw(t, "good"),
			Born: rapid.SampledFrom(times).Draw(t, "born"), Nick: maybe(t, texts, "nick"), Chipped: maybe(t, times, "chipped"),
			Owner: owner{rapid.SampledFrom(texts).Draw(t, "owner"), rapid.SampledFrom(score).Draw(t, "score")},
		}
	}
	return pets
}

// drawFilter gives a filter, and what the model says that it wants.
func drawFilter(t *rapid.T, depth int) (datastore.Filter, func(pet) bool) {
	form := rapid.IntRange(0, 5).Draw(t, "form")
	if depth == 0 || form > 1 {
		return drawCondition(t)
	}
	var filters []datastore.Filter
	var wants []func(pet) bool
	for range rapid.IntRange(0, 3).Draw(t, "parts") {
		f, want := drawFilter(t, depth-1)
		filters, wants = append(filters, f), append(wants, want)
	}
	if form == 0 {
		return datastore.Or(filters...), func(p pet) bool {
			return slices.ContainsFunc(wants, func(w func(pet) bool) bool { return w(p) })
		}
	}
	return datastore.And(filters...), func(p pet) bool {
		return !slices.ContainsFunc(wants, func(w func(pet) bool) bool { return !w(p) })
	}
}

func drawCondition(t *rapid.T) (datastore.Filter, func(pet) bool) {
	a := rapid.SampledFrom(attributes).Draw(t, "field")
	v := a.values.Draw(t, "value")
	is := func(test func(c int) bool) func(pet) bool {
		return func(p pet) bool { has := a.get(p); return has != nil && test(a.compare(has, v)) }
	}
	switch op := rapid.SampledFrom([]string{"eq", "ne", "lt", "le", "gt", "ge", "in", "null", "not null", "prefix", "contains"}).Draw(t, "op"); op {
	case "eq":
		return datastore.Eq(a.name, v), is(func(c int) bool { return c == 0 })
	case "lt":
		return datastore.Lt(a.name, v), is(func(c int) bool { return c < 0 })
	case "le":
		return datastore.Le(a.name, v), is(func(c int) bool { return c <= 0 })
	case "gt":
		return datastore.Gt(a.name, v), is(func(c int) bool { return c > 0 })
	case "ge":
		return datastore.Ge(a.name, v), is(func(c int) bool { return c >= 0 })
	case "in":
		w := a.values.Draw(t, "other value")
		return datastore.In(a.name, v, w), func(p pet) bool {
			has := a.get(p)
			return has != nil && (a.compare(has, v) == 0 || a.compare(has, w) == 0)
		}
	case "null":
		return datastore.Eq("nick", nil), func(p pet) bool { return p.Nick == nil }
	case "not null":
		return datastore.Or(datastore.In[any]("nick", "a", nil), datastore.Ne("chipped", nil)), func(p pet) bool {
			return p.Nick == nil || *p.Nick == "a" || p.Chipped != nil
		}
	case "prefix", "contains":
		part := rapid.SampledFrom(texts).Draw(t, "part")
		if op == "prefix" {
			return datastore.Prefix("nick", part), func(p pet) bool { return p.Nick != nil && strings.HasPrefix(*p.Nick, part) }
		}
		return datastore.Contains("kind", part), func(p pet) bool { return strings.Contains(p.Kind, part) }
	default:
		return datastore.Ne(a.name, v), func(p pet) bool { has := a.get(p); return has == nil || a.compare(has, v) != 0 }
	}
}

// drawOrder gives an order, and the model's comparison.
func drawOrder(t *rapid.T) ([]datastore.Order, func(p, q pet) int) {
	keys := rapid.SliceOfN(rapid.SampledFrom(attributes), 0, 3).Draw(t, "order")
	orders := make([]datastore.Order, len(keys))
	desc := false
	for i, k := range keys {
		desc = rapid.Bool().Draw(t, "desc")
		orders[i] = datastore.Order{Field: k.name, Desc: desc}
	}
	return orders, func(p, q pet) int {
		for i, k := range keys {
			if c := k.order(p, q); c != 0 {
				return direct(c, orders[i].Desc)
			}
		}
		return direct(cmp.Compare(p.ID, q.ID), desc)
	}
}

func direct(c int, desc bool) int {
	if desc {
		return -c
	}
	return c
}

func TestQueriesAnswerWhatTheModelSays(t *testing.T) {
	onBoth(t, func(t *testing.T, pets *datastore.Collection[pet]) {
		ctx := t.Context()
		rapid.Check(t, func(t *rapid.T) {
			all := drawPets(t)
			if _, err := pets.DeleteWhere(ctx, datastore.Ge("id", "")); err != nil {
				t.Fatal(err)
			}
			if err := pets.Create(ctx, all...); err != nil {
				t.Fatal(err)
			}
			for range 8 {
				filter, wants := drawFilter(t, 2)
				order, compare := drawOrder(t)
				want := slices.DeleteFunc(slices.Clone(all), func(p pet) bool { return !wants(p) })
				slices.SortFunc(want, compare)
				if n, err := pets.Count(ctx, filter); err != nil || n != len(want) {
					t.Fatalf("count is %d (%v), want %d", n, err, len(want))
				}
				q := datastore.Query{Where: filter, OrderBy: order, Limit: rapid.IntRange(1, 13).Draw(t, "limit")}
				var got []string
				for more := true; more; more = q.After != "" && len(got) <= len(all) {
					page, next, err := pets.Query(ctx, q)
					if err != nil || len(page) > q.Limit || (next != "" && len(page) < q.Limit) {
						t.Fatalf("%d of %d documents, %v", len(page), q.Limit, err)
					}
					got = append(got, ids(page)...)
					q.After = next
				}
				if diff := gocmp.Diff(ids(want), got); diff != "" {
					t.Fatalf("order %+v, limit %d: ids (-want +got):\n%s", order, q.Limit, diff)
				}
			}
		})
	})
}

func ids(pets []pet) []string {
	var out []string
	for _, p := range pets {
		out = append(out, p.ID)
	}
	return out
}
