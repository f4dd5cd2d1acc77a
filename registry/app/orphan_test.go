package app_test

import (
	"fmt"
	"testing"

	"micromesh/pkg/kv"
)

// TestInstancesOfDeletedAccountsLeave has accounts deleted while the registry runs, and while it is down.
func TestInstancesOfDeletedAccountsLeave(t *testing.T) {
	m := start(t)
	accounts, err := kv.Open(t.Context(), m.host.JS, kv.Accounts, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	left := func(slug string) int {
		var out struct{ Instances []any }
		if err := m.call("admin", "ListInstances", fmt.Sprintf(`{"slug":%q}`, slug), &out); err != nil {
			t.Fatal(err)
		}
		return len(out.Instances)
	}
	remove := func(slug string) {
		if _, err := accounts.Put(t.Context(), kv.DeletedAccount(slug), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for i, slug := range []string{"cats-svc", "dogs-svc", "pets-svc"} {
		for n := range 3 {
			if _, err := m.register(slug, fmt.Sprintf(`{"url":"http://127.0.0.1:%d"}`, 20000+10*i+n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove("cats-svc")
	m.eventually("cats-svc has left", func() bool { return left("cats-svc") == 0 })
	if _, err := m.register("cats-svc", `{"url":"http://127.0.0.1:20000"}`); err != nil { // by a token that is still believed
		t.Fatal(err)
	}
	m.eventually("what came back has left", func() bool { return left("cats-svc") == 0 })
	m.halt()
	remove("dogs-svc")
	m.run()
	m.eventually("dogs-svc has left", func() bool { return left("dogs-svc") == 0 })
	if n := left("pets-svc"); n != 3 {
		t.Errorf("pets-svc has %d instances", n)
	}
}
