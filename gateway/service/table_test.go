package service_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"micromesh/gateway/service"
	"micromesh/pkg/logtest"
)

func table(t *testing.T) *service.Table {
	return service.NewTable(slog.New(slog.NewTextHandler(t.Output(), nil)))
}

func live(urls ...string) (out []service.Instance) {
	for i, u := range urls {
		out = append(out, service.Instance{ID: fmt.Sprint(i), URL: u, Live: true})
	}
	return out
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// picks counts how often each backend is chosen.
func picks(t *testing.T, g *service.Group, at time.Time, n int) map[string]int {
	t.Helper()
	out := map[string]int{}
	for range n {
		b, err := g.Pick(at, nil)
		if err != nil {
			t.Fatal(err)
		}
		out[b.ID]++
	}
	return out
}

func TestLongestPathOfAHostWins(t *testing.T) {
	tb := table(t)
	tb.Update(nil, []service.HostRoute{
		{ID: "a.example.com", Target: "http://10.0.0.1:1"}, {ID: "a.example.com/x", Target: "http://10.0.0.1:2"},
		{ID: "a.example.com/x/y", Target: "http://10.0.0.1:3"}, {ID: "b.example.com/only", Target: "http://10.0.0.1:4"}, {ID: "[::1]", Target: "http://10.0.0.1:5"},
	})
	rows := []struct{ host, path, want string }{
		{"a.example.com", "/", "a.example.com"},
		{"A.Example.COM:8080", "/x", "a.example.com/x"},
		{"a.example.com", "/x/", "a.example.com/x"},
		{"a.example.com", "/xy", "a.example.com"},
		{"a.example.com", "/x/y/z", "a.example.com/x/y"},
		{"a.example.com", "/x/yy", "a.example.com/x"},
		{"b.example.com", "/only", "b.example.com/only"},
		{"b.example.com", "/other", ""},
		{"c.example.com", "/", ""},
		{"a.example.com.", "/", "a.example.com"},
		{"a.example.com.:80", "/x", "a.example.com/x"},
		{"[::1]:80", "/", "[::1]"},
		{"[::1]", "/", "[::1]"},
	}
	for _, r := range rows {
		got := ""
		if g := tb.Host(r.host, r.path); g != nil {
			got = g.Name
		}
		if got != r.want {
			t.Errorf("%s%s leads to %q, want %q", r.host, r.path, got, r.want)
		}
	}
}

// A host route that a guard closes is logged once, and so is its opening, however often the table changes.
func TestClosedHostRoutesAreLoggedOnce(t *testing.T) {
	var log logtest.Buffer
	tb := service.NewTable(slog.New(slog.NewTextHandler(&log, nil)))
	hosts := []service.HostRoute{
		{ID: "deep.example.com", Target: "http://10.0.0.1:1/admin"}, {ID: "same.example.com/x", Target: "http://10.0.0.1:1"}, {ID: "other.example.com", Target: "http://10.0.0.2:1"},
	}
	logged := func(after string, closed, opened []string) {
		t.Helper()
		for event, want := range map[string][]string{"host_route_closed": closed, "host_route_opened": opened} {
			var got []string
			for line := range strings.Lines(log.String()) {
				if _, id, ok := strings.Cut(line, event+" route="); ok {
					got = append(got, strings.Fields(id)[0])
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s of %v, want %v", after, event, got, want)
			}
		}
		if strings.Contains(log.String(), "10.0.0.1") {
			t.Errorf("%s: the log names an address: %s", after, log.String())
		}
	}
	tb.Update(nil, hosts)
	logged("no guard", nil, nil)
	guard := service.Closing{URLs: []string{"http://10.0.0.1:1"}}
	tb.Close(guard)
	logged("a guard", []string{"deep.example.com"}, nil)
	tb.Update(map[string][]service.Instance{"a-svc": live("http://10.0.0.9:1")}, slices.Clone(hosts))
	tb.Close(guard)
	logged("other changes", []string{"deep.example.com"}, nil)
	guard.Edge = true
	tb.Close(guard)
	logged("an edge", []string{"deep.example.com", "same.example.com/x"}, nil)
	tb.Update(nil, hosts[1:])
	tb.Close(service.Closing{})
	logged("the guard is gone", []string{"deep.example.com", "same.example.com/x"}, []string{"same.example.com/x"})
	tb.Close(guard)
	logged("the guard again", []string{"deep.example.com", "same.example.com/x", "same.example.com/x"}, []string{"same.example.com/x"})
}

func TestWhatCannotBeForwardedToIsLeftOut(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "grpc://10.0.0.1:2", "::nonsense::", "https://10.0.0.1")}, nil)
	if n := tb.Slug("svc").Size(); n != 2 {
		t.Errorf("%d instances, want 2", n)
	}
	tb.Update(nil, []service.HostRoute{{ID: "a.example.com", Target: "grpc://10.0.0.1:2"}})
	if tb.KnowsHost("a.example.com") {
		t.Error("a route that leads nowhere is known")
	}
}

func TestInstancesAreDialledAsTheirURLsSay(t *testing.T) {
	rows := []struct {
		url, address, serverName, host, prefix string
		tls                                    bool
	}{
		{"http://10.0.0.1", "10.0.0.1:80", "10.0.0.1", "10.0.0.1", "", false},
		{"https://Shop.example.com/", "Shop.example.com:443", "Shop.example.com", "Shop.example.com", "", true},
		{"http://10.0.0.1:443/v2/", "10.0.0.1:443", "10.0.0.1", "10.0.0.1:443", "/v2", false},
		{"https://[::1]:80/a%2Fb", "[::1]:80", "::1", "[::1]:80", "/a%2Fb", true},
	}
	for _, r := range rows {
		tb := table(t)
		tb.Update(map[string][]service.Instance{"svc": live(r.url)}, nil)
		b := tb.Slug("svc").Find("0")
		if b == nil {
			t.Fatalf("%s was left out", r.url)
		}
		if b.Address != r.address || b.ServerName != r.serverName || b.Host != r.host || b.Prefix != r.prefix || b.TLS != r.tls {
			t.Errorf("%s is dialled at %s (%s), Host %s, prefix %q, TLS %v", r.url, b.Address, b.ServerName, b.Host, b.Prefix, b.TLS)
		}
	}
}

func TestOnlyLiveInstancesArePicked(t *testing.T) {
	tb := table(t)
	instances := live("http://10.0.0.1:1", "http://10.0.0.1:2")
	instances[0].Live = false
	tb.Update(map[string][]service.Instance{"svc": instances}, nil)
	if got := picks(t, tb.Slug("svc"), now, 50); got["1"] != 50 {
		t.Errorf("picked %v", got)
	}
	instances = slices.Clone(instances)
	instances[1].Live = false
	tb.Update(map[string][]service.Instance{"svc": instances}, nil)
	if _, err := tb.Slug("svc").Pick(now, nil); !errors.Is(err, service.ErrNoInstance) {
		t.Errorf("got %v, want ErrNoInstance", err)
	}
	if _, err := tb.Slug("other").Pick(now, nil); !errors.Is(err, service.ErrNoInstance) {
		t.Errorf("got %v, want ErrNoInstance", err)
	}
}

func TestLessLoadedInstanceIsPicked(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2", "http://10.0.0.1:3")}, nil)
	g := tb.Slug("svc")
	slow := g.Find("0")
	for range 50 {
		for _, id := range []string{"0", "1", "2"} {
			b := g.Find(id)
			b.Begin(now)
			d := time.Millisecond
			if b == slow {
				d *= 20
			}
			b.Done(service.Answered, d, now)
		}
	}
	if got := picks(t, g, now, 3000); got["0"] > 150 || got["1"] == 0 || got["2"] == 0 {
		t.Errorf("picked %v; the one that is 20 times slower should get less than 5 %%", got)
	}
}

// With two instances both are drawn each time: one that was slow must not be left out for ever.
func TestWhoWasSlowOnceGetsAnotherChance(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
	g := tb.Slug("svc")
	for id, d := range map[string]time.Duration{"0": time.Second, "1": time.Millisecond} {
		b := g.Find(id)
		b.Begin(now)
		b.Done(service.Answered, d, now)
	}
	if got := picks(t, g, now, 50); got["0"] != 0 {
		t.Errorf("picked %v right after", got)
	}
	if got := picks(t, g, now.Add(2*time.Minute), 50); got["0"] == 0 {
		t.Errorf("picked %v two minutes later", got)
	}
}

func TestFailureEjectsForADoublingTime(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2")}, nil)
	g := tb.Slug("svc")
	bad := g.Find("0")
	at := now
	for _, out := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		bad.Begin(now)
		bad.Done(service.Failed, 0, at)
		if !bad.Ejected(at.Add(out-time.Millisecond)) || bad.Ejected(at.Add(out)) {
			t.Fatalf("not out for %s", out)
		}
		if got := picks(t, g, at, 20); got["0"] != 0 {
			t.Fatalf("picked %v while one is out", got)
		}
		at = at.Add(out)
	}
	other := g.Find("1")
	other.Begin(now)
	other.Done(service.Failed, 0, at)
	bad.Begin(now)
	bad.Done(service.Failed, 0, at)
	if got := picks(t, g, at, 50); len(got) != 2 {
		t.Errorf("with all of them out, picked %v: some answer is better than none", got)
	}
	// What was under way when it was put out counts for nothing, and neither does what was long ago.
	bad.Begin(now)
	bad.Done(service.Failed, 0, at)
	if bad.Ejected(at.Add(30 * time.Second)) {
		t.Error("put out twice for what failed at once")
	}
	at = at.Add(2 * time.Minute)
	bad.Begin(now)
	bad.Done(service.Answered, time.Millisecond, at)
	bad.Begin(now)
	bad.Done(service.Failed, 0, at)
	if !bad.Ejected(at.Add(time.Second-time.Millisecond)) || bad.Ejected(at.Add(time.Second)) {
		t.Error("what it did long ago still makes it stay out for longer than a second")
	}
}

func TestARefusalMoreOrLessEjectsNobody(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1")}, nil)
	b := tb.Slug("svc").Find("0")
	done := func(o service.Outcome) { b.Begin(now); b.Done(o, time.Millisecond, now) }
	for range 4 {
		done(service.Refused)
	}
	done(service.Answered)
	for range 4 {
		done(service.Refused)
	}
	done(service.Unclear)
	if b.Ejected(now) {
		t.Fatal("out although it has answered in between")
	}
	done(service.Refused)
	if !b.Ejected(now) {
		t.Error("still in after five refusals in a row")
	}
}

func TestWhatWasLearnedOutlivesAnUpdate(t *testing.T) {
	tb := table(t)
	instances := map[string][]service.Instance{"svc": live("http://10.0.0.1:1")}
	tb.Update(instances, []service.HostRoute{{ID: "a.example.com", Target: "http://10.0.0.1:1"}})
	b, h := tb.Slug("svc").Find("0"), tb.Host("a.example.com", "/")
	changed := tb.Changed()
	tb.Update(instances, []service.HostRoute{{ID: "a.example.com", Target: "http://10.0.0.1:1"}})
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the update")
	}
	if tb.Slug("svc").Find("0") != b || tb.Host("a.example.com", "/").Find("a.example.com") != h.Find("a.example.com") {
		t.Error("the same instance is another backend")
	}
	routes := []service.HostRoute{{ID: "a.example.com", Target: "http://10.0.0.1:1"}, {ID: "a.example.com/x", Target: "http://10.0.0.1:1"}}
	tb.Update(instances, routes)
	below := tb.Host("a.example.com", "/x").Find("a.example.com/x")
	tb.Update(instances, routes)
	if tb.Host("a.example.com", "/x").Find("a.example.com/x") != below || tb.Host("a.example.com", "/").Find("a.example.com") != h.Find("a.example.com") {
		t.Error("the same route, beside another of its host, is another backend")
	}
	tb.Update(map[string][]service.Instance{"svc": {{ID: "0", URL: "http://10.0.0.1:9", Live: true}}}, nil)
	if tb.Slug("svc").Find("0") == b {
		t.Error("an instance that moved kept what was learned at its old address")
	}
}

func TestTriedInstancesAreNotPickedAgain(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2", "http://10.0.0.1:3")}, nil)
	var tried []*service.Backend
	for range 3 {
		b, err := tb.Slug("svc").Pick(now, tried)
		if err != nil {
			t.Fatal(err)
		}
		for _, old := range tried {
			if old == b {
				t.Fatal("picked again")
			}
		}
		tried = append(tried, b)
	}
	if _, err := tb.Slug("svc").Pick(now, tried); !errors.Is(err, service.ErrNoInstance) {
		t.Errorf("got %v, want ErrNoInstance", err)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	tb := table(t)
	tb.Update(map[string][]service.Instance{"svc": live("http://10.0.0.1:1", "http://10.0.0.1:2", "http://10.0.0.1:3")}, nil)
	g := tb.Slug("svc")
	if n := testing.AllocsPerRun(100, func() { _, _ = g.Pick(now, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAddressesThatAreLeftAreTold(t *testing.T) {
	tb := table(t)
	var left []string
	tb.OnLeft(func(address string) { left = append(left, address) })
	of := func(all ...service.Instance) []service.Instance { return all }
	a, b := service.Instance{ID: "a", URL: "http://10.0.0.1:1", Live: true}, service.Instance{ID: "b", URL: "http://10.0.0.1:2", Live: true}
	ill, moved := a, a
	ill.Live, moved.URL = false, "http://10.0.0.1:3"
	for _, step := range []struct {
		name  string
		slugs map[string][]service.Instance
		want  []string // each before the table is in force and after
	}{
		{"they come", map[string][]service.Instance{"pets": of(a, b)}, nil},
		{"nothing changes", map[string][]service.Instance{"pets": of(a, b)}, nil},
		{"one is ill", map[string][]service.Instance{"pets": of(ill, b)}, []string{"10.0.0.1:1", "10.0.0.1:1"}},
		{"it is well", map[string][]service.Instance{"pets": of(a, b)}, nil},
		{"it moves", map[string][]service.Instance{"pets": of(moved, b)}, []string{"10.0.0.1:1", "10.0.0.1:1"}},
		{"one leaves", map[string][]service.Instance{"pets": of(moved)}, []string{"10.0.0.1:2", "10.0.0.1:2"}},
		{"another account has its address", map[string][]service.Instance{"shop": of(moved)}, []string{"10.0.0.1:3", "10.0.0.1:3"}},
	} {
		left = nil
		tb.Update(step.slugs, nil)
		if !slices.Equal(left, step.want) {
			t.Errorf("%s: left are %v, want %v", step.name, left, step.want)
		}
	}
}
