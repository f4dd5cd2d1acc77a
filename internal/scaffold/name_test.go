package scaffold_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/scaffold"
)

func TestNames(t *testing.T) {
	for given, want := range map[string]scaffold.Name{
		"account":     {Base: "account", Slug: "account-svc", Package: "account", Type: "Account"},
		"account-svc": {Base: "account", Slug: "account-svc", Package: "account", Type: "Account"},
		"shop-cart":   {Base: "shop-cart", Slug: "shop-cart-svc", Package: "shopcart", Type: "ShopCart"},
		"v2":          {Base: "v2", Slug: "v2-svc", Package: "v2", Type: "V2"},
	} {
		got, err := scaffold.ParseName(given)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", given, err, diff)
		}
	}
}

func TestBadNamesAreRefused(t *testing.T) {
	for given, says := range map[string]string{
		"": "lower-case letters", "Account": "lower-case letters", "a_b": "lower-case letters", "-a": "lower-case letters", "a--b": "lower-case letters",
		"a-": "lower-case letters", "1a": "begin with a letter", "a-1": "begin with a letter", "../x": "lower-case letters", "a/b": "lower-case letters",
		"a b": "lower-case letters", "ä": "lower-case letters", "-svc": "lower-case letters", "a.b": "lower-case letters",
		"user": "the mesh's own", "user-svc": "the mesh's own", "gateway": "the mesh's own", "forwarder": "the mesh's own", "accounts": "the mesh's own",
		"func": "means something in Go", "type-svc": "means something in Go", "go": "means something in Go", "internal": "means something in Go", "vendor": "means something in Go",
		strings.Repeat("a", 47): "too long",
	} {
		if _, err := scaffold.ParseName(given); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want what says %q", given, err, says)
		}
	}
	if _, err := scaffold.ParseName(strings.Repeat("a", 46)); err != nil {
		t.Errorf("the longest: %v", err)
	}
}

func TestBadEntitiesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		fields []string
		says   []string
	}{
		{"widget", []string{"name:string"}, []string{"capital letter"}},
		{"URLThing", []string{"name:string"}, []string{"capital letter"}},
		{"Wid get", []string{"name:string"}, []string{"capital letter"}},
		{"Event", []string{"name:string"}, []string{"another Event"}},
		{"Type", []string{"name:string"}, []string{"another Type"}},
		{"Widget", nil, []string{"needs fields"}},
		{"Widget", []string{"name:text"}, []string{`"text"; it must be string, int32`}},
		{"Widget", []string{"Name:string", "price", "id:int64", "a:bool", "a:int32", "get_x:bool", "x__y:bool"}, []string{
			`"Name:string" is no field`, "type of the field price", "id is there already", "a is named twice", `"get_x:bool" is no field`, `"x__y:bool" is no field`,
		}},
		{"Widget", []string{"user_id:string", "user_i_d:string"}, []string{"named twice"}},
	} {
		_, err := scaffold.ParseEntity(c.name, c.fields)
		for _, says := range c.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s %v: %v, want what says %q", c.name, c.fields, err, says)
			}
		}
	}
}

func TestEntitiesHaveTheirNames(t *testing.T) {
	for name, want := range map[string][]string{
		"Widget": {"widgets", "widgets", "a"}, "OrderLine": {"order_lines", "order-lines", "an"}, "Box": {"boxes", "boxes", "a"},
		"City": {"cities", "cities", "a"}, "Day": {"days", "days", "a"}, "Dish": {"dishes", "dishes", "a"},
	} {
		e, err := scaffold.ParseEntity(name, []string{"name:string"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, []string{e.Table(), e.Paths(), e.A()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatDoesNotGoTogetherIsRefused(t *testing.T) {
	entity, err := scaffold.ParseEntity("Widget", []string{"name:string"})
	if err != nil {
		t.Fatal(err)
	}
	for says, s := range map[string]scaffold.Spec{
		"leave out --no-db":             {NoDB: true, Entity: entity},
		"events leave in the":           {NoDB: true, Events: true},
		"for services with RPC":         {HTTP: "go", Entity: entity},
		`--http is "rust"`:              {HTTP: "rust"},
		`--module is "Nonsense module"`: {Module: "Nonsense module"},
		`--module is "net"`:             {Module: "net"},
		"which is the mesh's":           {Module: "micromesh"},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want what says %q", s, err, says)
		}
	}
}
