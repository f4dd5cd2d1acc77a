package service_test

import (
	"testing"
	"time"

	"micromesh/gateway/service"
)

// TestAbandon has requests wait at the first of two instances, and asks whether they are to go elsewhere.
func TestAbandon(t *testing.T) {
	const quick, slow = time.Millisecond, 100 * time.Millisecond
	late := now.Add(600 * time.Millisecond)
	for name, row := range map[string]struct {
		usual   time.Duration // its latency
		waiting int           // requests
		at      time.Time
		other   func(*service.Backend)
		spend   int // retries, beforehand
		want    bool
	}{
		"it hangs":                      {usual: quick, waiting: 2, at: late, want: true},
		"it has never answered":         {waiting: 2, at: late, want: true},
		"not for long yet":              {usual: quick, waiting: 2, at: now.Add(400 * time.Millisecond)},
		"one request may be a slow one": {usual: quick, waiting: 1, at: late},
		"it is slow as a rule":          {usual: slow, waiting: 2, at: late},
		"even for one that is slow":     {usual: slow, waiting: 2, at: now.Add(3 * time.Second), want: true},
		"the other is out":              {usual: quick, waiting: 2, at: late, other: func(b *service.Backend) { b.Begin(late); b.Done(service.Failed, 0, late) }},
		"the group may not retry":       {usual: quick, waiting: 2, at: late, spend: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			tb := table(t)
			tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
			g := tb.Slug("svc")
			b := g.Find("0")
			for range 200 * min(row.usual, 1) {
				b.Begin(now)
				b.Done(service.Answered, row.usual, now)
			}
			for range row.waiting {
				b.Begin(now)
			}
			if row.other != nil {
				row.other(g.Find("1"))
			}
			for range row.spend {
				g.Retry()
			}
			if got := b.Abandon(now, row.at); got != row.want {
				t.Errorf("%t, want %t", got, row.want)
			}
		})
	}
}

// TestAllThatWaitAreAbandoned expects the requests behind the first one to go elsewhere too, and the one that finds out later
// how the instance is; but none once it has answered.
func TestAllThatWaitAreAbandoned(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
	b := tb.Slug("svc").Find("0")
	b.Begin(now)
	b.Begin(now)
	at := now.Add(600 * time.Millisecond)
	for range 2 {
		if !b.Abandon(now, at) {
			t.Error("a request was left there")
		}
		b.Done(service.Silent, 0, at)
	}
	at = at.Add(time.Second)
	b.Begin(at)
	if b.Abandon(at, at.Add(400*time.Millisecond)) {
		t.Error("the request that is to find out has hardly waited")
	}
	sent := at
	if at = at.Add(600 * time.Millisecond); !b.Abandon(sent, at) {
		t.Error("the request that was to find out was left there")
	}
	b.Done(service.Silent, 0, at)
	at = at.Add(2 * time.Second)
	b.Begin(at)
	b.Done(service.Answered, time.Millisecond, at)
	b.Begin(at)
	if b.Abandon(at, at.Add(600*time.Millisecond)) {
		t.Error("abandoned though it is well again")
	}
}

// TestNobodyIsSentBackToWhoHangs has the first instance hang and its time out be over, while the second is slow: what waits there has
// nowhere better to go, as long as the first one has not answered again.
func TestNobodyIsSentBackToWhoHangs(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
	g := tb.Slug("svc")
	hangs, slow := g.Find("0"), g.Find("1")
	hangs.Begin(now)
	hangs.Begin(now)
	at := now.Add(600 * time.Millisecond)
	for range 2 {
		if !hangs.Abandon(now, at) {
			t.Fatal("it does not go elsewhere")
		}
		hangs.Done(service.Silent, 0, at)
		slow.Begin(at)
	}
	later := at.Add(1500 * time.Millisecond)
	if hangs.Ejected(later) {
		t.Fatal("the time out is not over")
	}
	if slow.Abandon(at, later) {
		t.Error("it is sent back to the one that hangs")
	}
	hangs.Begin(later)
	hangs.Done(service.Answered, time.Millisecond, later)
	if !slow.Abandon(at, later.Add(time.Second)) {
		t.Error("it is not sent to the one that is well again")
	}
	if b, err := g.Elsewhere(later.Add(time.Second), slow); err != nil || b != hangs {
		t.Errorf("it goes to %v, %v", b, err)
	}
}
