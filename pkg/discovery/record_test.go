package discovery_test

import (
	"regexp"
	"testing"

	"micromesh/pkg/discovery"
)

// takenByKV is what a JetStream KV bucket accepts as a key.
var takenByKV = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

func FuzzKey(f *testing.F) {
	f.Add("user-svc", "user-svc-1f")
	f.Add("a.b", "ü=2E")
	f.Add("\x00", "*>")
	f.Fuzz(func(t *testing.T, service, node string) {
		if service == "" || node == "" {
			return // names are never empty
		}
		key := discovery.Key(service, node)
		if !takenByKV.MatchString(key) {
			t.Fatalf("key %q is not valid", key)
		}
		s, n, err := discovery.ParseKey(key)
		if err != nil || s != service || n != node {
			t.Fatalf("%q, %q became %q, then %q, %q, %v", service, node, key, s, n, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{"user-svc.1", "a=2Eb.c", "a=2eb.c", "=41.b", "a.", ".a", "a.b.c", "a=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		s, n, err := discovery.ParseKey(key)
		if err == nil && discovery.Key(s, n) != key {
			t.Fatalf("%q and %q both name %q, %q", key, discovery.Key(s, n), s, n)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"a","nodes":[{"id":"b","address":"h:1"}],"ttl":1000,"endpoints":[null,{"request":{"values":[null]}}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, value []byte) {
		n, err := discovery.Decode("a.b", value)
		if err == nil && (n.ID != "b" || n.Address == "") {
			t.Fatalf("%s became %+v", value, n)
		}
	})
}
