package discovery_test

import (
	"fmt"
	"testing"
	"time"

	"micromesh/pkg/discovery"
)

func TestWorkIsSharedOut(t *testing.T) {
	r := startNATS(t).registry(discovery.Config{})
	if !r.Mine("svc", "a", "piece") {
		t.Error("where nobody is known, the caller does the work")
	}
	const pieces = 3000
	owners := func(nodes ...string) map[string]string {
		of := map[string]string{}
		for i := range pieces {
			piece := fmt.Sprint("piece-", i)
			for _, n := range nodes {
				if !r.Mine("svc", n, piece) {
					continue
				}
				if other, taken := of[piece]; taken {
					t.Fatalf("%s is both %s's and %s's", piece, other, n)
				}
				of[piece] = n
			}
		}
		return of
	}
	join := func(n string) {
		t.Helper()
		before := count(r, "svc")
		mustRegister(t, r, service("svc", n, "127.0.0.1:1"), time.Minute)
		eventually(t, n+" is known", func() bool { return count(r, "svc") == before+1 })
	}
	join("a")
	join("b")
	two := owners("a", "b", "stranger")
	if len(two) != pieces {
		t.Fatalf("%d pieces have an owner, of %d", len(two), pieces)
	}
	join("c")
	three := owners("a", "b", "c")
	count := map[string]int{}
	for piece, n := range three {
		count[n]++
		if n != "c" && two[piece] != n {
			t.Fatalf("%s moved from %s to %s, although both stayed", piece, two[piece], n)
		}
	}
	for _, n := range []string{"a", "b", "c"} {
		if count[n] < pieces/3*8/10 || count[n] > pieces/3*12/10 {
			t.Errorf("%s has %d pieces of %d", n, count[n], pieces)
		}
	}
}
