package service_test

import (
	"testing"
	"time"

	"micromesh/gateway/service"
)

// retries counts how many of a group's requests, so many a second for some seconds, may be sent again twice when all fail.
func retries(g *service.Group, from time.Time, perSecond, seconds int) (n int) {
	for i := range perSecond * seconds {
		g.Count(from.Add(time.Duration(i) * time.Second / time.Duration(perSecond)))
		for range 2 {
			if g.Retry() {
				n++
			}
		}
	}
	return n
}

func TestRetriesAddATenthAtMost(t *testing.T) {
	for _, perSecond := range []int{200, 5000} {
		tb := table(t)
		tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1")}, nil)
		g := tb.Slug("svc")
		for i := range 60 * perSecond {
			g.Count(now.Add(time.Duration(i) * time.Second / time.Duration(perSecond)))
		}
		tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1")}, nil)
		g = tb.Slug("svc")
		at := now.Add(time.Minute)
		if n := retries(g, at, perSecond, 10); n > perSecond || n < perSecond/4 {
			t.Errorf("%d retries of %d requests", n, 10*perSecond)
		}
		if n := retries(g, at.Add(10*time.Second), perSecond, 10); n > perSecond {
			t.Errorf("then %d retries of %d requests", n, 10*perSecond)
		}
	}
}

// TestFewRequestsMayBeRetried has a group with a request now and then lose an instance.
func TestFewRequestsMayBeRetried(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1")}, nil)
	g := tb.Slug("svc")
	if n := retries(g, now, 1, 15); n < 30 {
		t.Errorf("%d retries at first, want 30", n)
	}
	retries(g, now.Add(15*time.Second), 1, 100)
	if n := retries(g, now.Add(115*time.Second), 1, 20); n < 20 {
		t.Errorf("later %d retries of 20 requests, want at least one each", n)
	}
}
