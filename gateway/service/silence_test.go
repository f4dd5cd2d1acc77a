package service_test

import (
	"testing"
	"time"

	"micromesh/gateway/service"
)

// TestSilenceEjects has requests wait at one of two instances that answers none.
func TestSilenceEjects(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
	g := tb.Slug("svc")
	mute := g.Find("0")
	mute.Begin(now)
	mute.Begin(now)
	if got := picks(t, g, now.Add(400*time.Millisecond), 50); len(got) == 0 || mute.Ejected(now.Add(400*time.Millisecond)) {
		t.Fatalf("put out too soon: %v", got)
	}
	at := now.Add(501 * time.Millisecond)
	if got := picks(t, g, at, 50); got["0"] != 0 || !mute.Ejected(at.Add(999*time.Millisecond)) {
		t.Fatalf("picked %v while one is silent", got)
	}
	mute.Done(service.Unclear, 0, at) // a client that gave up says nothing new
	// Then one request finds out how it is, while no other is sent there, and the time doubles if it isn't answered either.
	at = at.Add(time.Second)
	if mute.Ejected(at) {
		t.Fatal("still out after a second")
	}
	mute.Begin(at)
	if got := picks(t, g, at, 50); got["0"] != 0 {
		t.Errorf("picked %v while one request is finding out", got)
	}
	at = at.Add(501 * time.Millisecond)
	if got := picks(t, g, at, 50); got["0"] != 0 || !mute.Ejected(at.Add(1999*time.Millisecond)) || mute.Ejected(at.Add(2*time.Second)) {
		t.Errorf("picked %v, not out for two seconds", got)
	}
	at = at.Add(2 * time.Second)
	mute.Begin(at)
	mute.Done(service.Answered, 100*time.Microsecond, at)
	if b, err := g.Pick(at, []*service.Backend{g.Find("1")}); err != nil || b != mute || mute.Ejected(at) {
		t.Errorf("an answer did not bring it back: %v, %v", b, err)
	}
}

// TestQuickLeaversEjectNobody has a client break off its request at an instance that then has none for a while.
func TestQuickLeaversEjectNobody(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
	g := tb.Slug("svc")
	b := g.Find("0")
	b.Begin(now)
	b.Done(service.Unclear, 0, now.Add(10*time.Millisecond))
	picks(t, g, now.Add(time.Minute), 10)
	if b.Ejected(now.Add(time.Minute)) {
		t.Error("it was put out")
	}
}
