// Package storetest is the contract of service.Store as a suite that every implementation runs.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"micromesh/registry/service"
)

// Subject is an empty store, and the events that it has committed, in their order.
type Subject struct {
	service.Store
	Events func(t *testing.T) []service.Event
}

// Run runs the suite; each test has a store of its own.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Subject){
		"what is added is there":              testAdd,
		"what a URL had goes on":              testSucceed,
		"nobody takes another's":              testOwnership,
		"one of many wins a URL":              testRace,
		"a version follows its predecessor":   testReplace,
		"a removal bars what was":             testRemove,
		"what is displaced leaves its URL":    testDisplace,
		"what was heard of does not expire":   testExpire,
		"found by id and by URL":              testFind,
		"statuses and heartbeats are updates": testStatuses,
		"what was removed is forgotten":       testForget,
		"definitions":                         testDefinitions,
		"nodes":                               testNodes,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 123000, time.UTC)

func instance(slug, id, url string) service.Instance {
	u, err := service.ParseURL(url)
	if err != nil {
		panic(err)
	}
	return service.Instance{
		ID: id, Slug: slug, URL: u, Host: u.Host, IP: "10.0.0.1", DeploymentID: "d", HealthPath: "/healthz?a=b",
		Metadata: map[string]string{"k": "v'\"ü"}, Tags: []string{"a", "b"}, NodeURL: "http://node", Status: "Unknown", Details: "x",
		Since: start, CreatedAt: start, LastHeartbeat: start,
	}
}

func registered(in service.Instance) service.Event {
	return service.Event{ID: in.ID, Slug: in.Slug, URL: in.URL.String(), ActorID: "usr", What: service.Registered{DeploymentID: in.DeploymentID, Generation: in.Generation}, Time: start}
}

func add(t *testing.T, s Subject, in service.Instance, known int32) service.Instance {
	t.Helper()
	stored, err := s.Add(t.Context(), in, known, nil, registered)
	if err != nil {
		t.Fatalf("add %s: %v", in.URL, err)
	}
	return stored
}

func all(t *testing.T, s Subject) []service.Instance {
	t.Helper()
	in, err := s.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got error %v, want %v", got, want)
	}
}

// wantSame compares errors that are made anew each time.
func wantSame(t *testing.T, got, want error) {
	t.Helper()
	if got == nil || got.Error() != want.Error() {
		t.Errorf("got error %v, want %v", got, want)
	}
}

func event(in service.Instance, what any) service.Event {
	return service.Event{ID: in.ID, Slug: in.Slug, URL: in.URL.String(), What: what, Time: start}
}

func testAdd(t *testing.T, s Subject) {
	t.Helper()
	one := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	two := add(t, s, instance("pets", "", "http://h:2/a"), 0)
	if one.ID != "pets-1" || one.Generation != 1 || two.ID == "" || two.Generation != 1 {
		t.Errorf("added %+v and %+v", one, two)
	}
	byID := cmpopts.SortSlices(func(a, b service.Instance) bool { return a.ID < b.ID })
	if diff := cmp.Diff([]service.Instance{one, two}, all(t, s), byID); diff != "" {
		t.Errorf("instances differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]service.Event{registered(one), registered(two)}, s.Events(t)); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

func testSucceed(t *testing.T, s Subject) {
	t.Helper()
	one := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	// Another registry added it, as far as these callers know.
	for _, again := range []service.Instance{instance("pets", "", "http://h:1"), instance("pets", "pets-1", "http://h:2"), instance("pets", "pets-2", "http://h:1")} {
		_, err := s.Add(t.Context(), again, 0, nil, registered)
		wantErr(t, err, service.ErrChanged)
	}
	if diff := cmp.Diff([]service.Instance{one}, all(t, s)); diff != "" {
		t.Errorf("instances differ (-want +got):\n%s", diff)
	}
	// What follows on one that expired has its id, where it names none, and the next generation.
	if ok, err := s.Expire(t.Context(), one, one.LastHeartbeat, start, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	again := add(t, s, instance("pets", "", "http://h:1"), one.Generation)
	if again.ID != one.ID || again.Generation != one.Generation+1 || len(all(t, s)) != 1 {
		t.Errorf("%+v became %+v", one, again)
	}
}

func testOwnership(t *testing.T, s Subject) {
	t.Helper()
	theirs := add(t, s, instance("shop", "shop-1", "http://h:1"), 0)
	_, err := s.Add(t.Context(), instance("pets", "", "http://h:1"), 0, nil, registered)
	wantErr(t, err, service.ErrURLTaken)
	_, err = s.Add(t.Context(), instance("pets", "shop-1", "http://h:2"), 0, nil, registered)
	wantErr(t, err, service.ErrIDTaken)
	mine := add(t, s, instance("pets", "pets-1", "http://h:3"), 0)
	mine.URL, mine.Generation = theirs.URL, mine.Generation+1
	wantErr(t, s.Replace(t.Context(), mine, nil, []service.Event{event(mine, service.Changed{})}), service.ErrURLTaken)
	if got := all(t, s); len(got) != 2 || len(s.Events(t)) != 2 {
		t.Errorf("after the attempts there is %+v", got)
	}
	// Once it is removed, the URL is free, and what it was before means nothing to its new owner.
	if err := s.Remove(t.Context(), "shop-1", "shop", start, []service.Event{event(theirs, service.Removed{})}); err != nil {
		t.Fatal(err)
	}
	if got := add(t, s, instance("pets", "", "http://h:1"), 0); got.ID == "shop-1" || got.Generation != 1 {
		t.Errorf("the new owner's is %+v", got)
	}
}

func testRace(t *testing.T, s Subject) {
	t.Helper()
	for round := range 10 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for owner := range 8 {
			wg.Go(func() {
				in := instance(fmt.Sprintf("owner-%d", owner), "", fmt.Sprintf("http://h:%d", round+1))
				_, err := s.Add(t.Context(), in, 0, nil, registered)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, service.ErrURLTaken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d has %d winners", round, won.Load())
		}
	}
	if n := len(all(t, s)); n != 10 || len(s.Events(t)) != 10 {
		t.Errorf("there are %d instances and %d events", n, len(s.Events(t)))
	}
}

func testReplace(t *testing.T, s Subject) {
	t.Helper()
	in := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	next := instance("pets", "pets-1", "http://h:2")
	next.Metadata, next.Tags, next.Status, next.Generation = nil, nil, "Healthy", in.Generation+1
	next.Beats, next.Proves, next.Proved, next.Vacant = true, true, true, true
	if err := s.Replace(t.Context(), next, nil, []service.Event{event(next, service.Changed{PreviousURL: "http://h:1"})}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]service.Instance{next}, all(t, s), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("instances differ (-want +got):\n%s", diff)
	}
	wantErr(t, s.Replace(t.Context(), next, nil, []service.Event{event(next, service.Changed{})}), service.ErrChanged)
	other := next
	other.Slug, other.Generation = "shop", next.Generation+1
	wantErr(t, s.Replace(t.Context(), other, nil, []service.Event{event(other, service.Changed{})}), service.ErrChanged)
	if n := len(s.Events(t)); n != 2 {
		t.Errorf("there are %d events, not 2", n)
	}
}

func testRemove(t *testing.T, s Subject) {
	t.Helper()
	for _, barred := range []bool{true, false} {
		in := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
		told := []service.Event{event(in, service.Removed{})}
		if err := s.Remove(t.Context(), in.ID, "shop", start, told); err != nil || len(all(t, s)) != 1 {
			t.Errorf("another account removed it: %v", err)
		}
		for range 2 { // the second time there is nothing to do
			var err error
			if barred {
				err = s.Remove(t.Context(), in.ID, in.Slug, start, told)
			} else {
				_, err = s.Expire(t.Context(), in, in.LastHeartbeat, start, told)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		known := in.Generation
		if barred { // by its id too, at another URL
			for _, url := range []string{"http://h:1", "http://h:2"} {
				_, err := s.Add(t.Context(), instance("pets", "pets-1", url), known, nil, registered)
				wantErr(t, err, service.ErrStale)
			}
			known = 0
		}
		back := add(t, s, instance("pets", "pets-1", "http://h:1"), known)
		if back.Generation <= in.Generation {
			t.Errorf("generation %d came back as %d", in.Generation, back.Generation)
		}
		if err := s.Remove(t.Context(), in.ID, in.Slug, start, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func testDisplace(t *testing.T, s Subject) {
	t.Helper()
	over := func(in service.Instance, generation int32, heard time.Time) *service.Displaced {
		in.Generation = generation
		return &service.Displaced{Instance: in, Heard: heard, Events: []service.Event{event(in, service.Expired{})}}
	}
	theirs := add(t, s, instance("shop", "shop-1", "http://h:1"), 0)
	mine := instance("pets", "pets-1", "http://h:1")
	for name, stale := range map[string]*service.Displaced{
		"it was changed since":  over(theirs, theirs.Generation-1, start),
		"it was heard of since": over(theirs, theirs.Generation, start.Add(-time.Second)),
	} {
		if _, err := s.Add(t.Context(), mine, 0, stale, registered); !errors.Is(err, service.ErrChanged) || len(all(t, s)) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := s.Add(t.Context(), mine, 0, over(theirs, theirs.Generation, start), registered)
	if err != nil || got.Generation != 1 {
		t.Fatalf("added %+v, %v", got, err)
	}
	if diff := cmp.Diff([]service.Instance{got}, all(t, s)); diff != "" {
		t.Errorf("instances differ (-want +got):\n%s", diff)
	}
	// Two of one account exchange their URLs, whenever they were heard of.
	two := add(t, s, instance("pets", "pets-2", "http://h:2"), 0)
	got.URL, got.Generation = two.URL, got.Generation+1
	if err := s.Replace(t.Context(), got, over(two, two.Generation, start.Add(-time.Hour)), []service.Event{event(got, service.Changed{})}); err != nil {
		t.Fatal(err)
	}
	back, err := s.Add(t.Context(), instance("pets", "pets-2", "http://h:1"), two.Generation, nil, registered)
	if err != nil || back.ID != "pets-2" || back.Generation != two.Generation+1 || len(all(t, s)) != 2 {
		t.Errorf("the other came back as %+v, %v", back, err)
	}
	if n := len(s.Events(t)); n != 7 {
		t.Errorf("there are %d events, not 7", n)
	}
}

func testExpire(t *testing.T, s Subject) {
	t.Helper()
	in := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	events := len(s.Events(t))
	heard, changed := in, in
	heard.LastHeartbeat = start.Add(-time.Second)
	changed.Generation++
	for name, as := range map[string]service.Instance{"it was heard of since": heard, "it was changed since": changed} {
		if ok, err := s.Expire(t.Context(), as, as.LastHeartbeat, start, []service.Event{event(in, service.Expired{})}); ok || err != nil {
			t.Errorf("%s: it expired: %v, %v", name, ok, err)
		}
	}
	if len(all(t, s)) != 1 || len(s.Events(t)) != events {
		t.Error("it is gone, or that was told")
	}
	if ok, err := s.Expire(t.Context(), in, in.LastHeartbeat, start, []service.Event{event(in, service.Expired{})}); !ok || err != nil {
		t.Errorf("it did not expire: %v, %v", ok, err)
	}
	if len(all(t, s)) != 0 || len(s.Events(t)) != events+1 {
		t.Error("it is still there, or nothing was told")
	}
}

func testFind(t *testing.T, s Subject) {
	t.Helper()
	one := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	two := add(t, s, instance("pets", "pets-2", "http://h:2"), 0)
	add(t, s, instance("shop", "shop-1", "http://h:3"), 0)
	for _, row := range []struct {
		ids  []string
		url  string
		want []service.Instance
	}{
		{nil, "", nil},
		{[]string{"pets-1", "nobody"}, "", []service.Instance{one}},
		{nil, "http://h:2", []service.Instance{two}},
		{[]string{"pets-1"}, "http://h:2", []service.Instance{one, two}},
	} {
		got, err := s.Find(t.Context(), row.ids, row.url)
		if diff := cmp.Diff(row.want, got); err != nil || diff != "" {
			t.Errorf("ids %v, url %q: %v, differs (-want +got):\n%s", row.ids, row.url, err, diff)
		}
	}
	pulses, err := s.Pulses(t.Context())
	want := service.Pulse{ID: "pets-1", Generation: 1, Status: one.Status, LastHeartbeat: one.LastHeartbeat}
	i := slices.IndexFunc(pulses, func(p service.Pulse) bool { return p.ID == "pets-1" })
	if err != nil || len(pulses) != 3 || i < 0 || pulses[i] != want {
		t.Errorf("pulses are %+v, %v", pulses, err)
	}
}

func testStatuses(t *testing.T, s Subject) {
	t.Helper()
	in := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	gone := instance("pets", "gone", "http://h:2")
	in.Status, in.Details, in.Since = "Unreachable", "refused", start.Add(time.Second)
	in.Proved, in.Vacant = true, true
	e := event(in, service.StatusChanged{From: "Unknown", To: "Unreachable"})
	if err := s.SaveStatuses(t.Context(), []service.Instance{in, gone}, []service.Event{e}); err != nil {
		t.Fatal(err)
	}
	in.LastHeartbeat, in.Beats = start.Add(time.Minute), true
	if err := s.SaveHeartbeats(t.Context(), []string{"pets-1", "gone"}, in.LastHeartbeat, []string{"pets-1"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]service.Instance{in}, all(t, s)); diff != "" {
		t.Errorf("instances differ (-want +got):\n%s", diff)
	}
	// What was seen of an earlier version says nothing of this one.
	old := in
	old.Generation, old.Status = in.Generation-1, "Healthy"
	if err := s.SaveStatuses(t.Context(), []service.Instance{old}, nil); err != nil {
		t.Fatal(err)
	}
	if got := all(t, s)[0].Status; got != "Unreachable" {
		t.Errorf("an old version's status was stored: %s", got)
	}
}

func testForget(t *testing.T, s Subject) {
	t.Helper()
	in := add(t, s, instance("pets", "pets-1", "http://h:1"), 0)
	if err := s.Remove(t.Context(), in.ID, in.Slug, start, []service.Event{event(in, service.Removed{})}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		before time.Time
		stale  bool
	}{{start, true}, {start.Add(time.Second), false}} {
		if err := s.Forget(t.Context(), step.before); err != nil {
			t.Fatal(err)
		}
		_, err := s.Add(t.Context(), instance("pets", "pets-1", "http://h:1"), in.Generation, nil, registered)
		if errors.Is(err, service.ErrStale) != step.stale {
			t.Errorf("after forgetting what was before %v: %v", step.before, err)
		}
	}
}

func testDefinitions(t *testing.T, s Subject) {
	t.Helper()
	pets := service.Definition{
		ID: "pets", APISpecs: []service.APISpec{{Metadata: map[string]string{"a": "b"}, ProtocolType: "openapi", URL: "u", Version: "1"}},
		Clients: []service.Client{{Language: "Go", URL: "u"}}, EnvVars: []service.EnvVar{{Key: "k", Value: "v"}},
		Image: &service.Image{Name: "i", InternalPorts: []int32{80}}, Ports: []service.Port{{Host: 1, Internal: 2}},
		Repository: &service.Repository{BuildContext: ".", ContainerFile: "f", InternalPorts: []int32{1}, URL: "u", Version: "v"},
	}
	saved := service.Event{Slug: "pets", ActorID: "usr", What: service.DefinitionSaved{}, Time: start}
	for _, d := range []service.Definition{{ID: "shop"}, {ID: "pets"}, pets} {
		if err := s.SaveDefinition(t.Context(), d, saved); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Definitions(t.Context())
	if diff := cmp.Diff([]service.Definition{pets, {ID: "shop"}}, got); err != nil || diff != "" {
		t.Errorf("definitions differ (-want +got), error %v:\n%s", err, diff)
	}
	deleted := service.Event{Slug: "pets", What: service.DefinitionDeleted{}, Time: start}
	if err := s.DeleteDefinition(t.Context(), "pets", deleted); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s.DeleteDefinition(t.Context(), "pets", deleted), service.NoDefinition("pets"))
	if n := len(s.Events(t)); n != 4 {
		t.Errorf("there are %d events, not 4", n)
	}
}

func testNodes(t *testing.T, s Subject) {
	t.Helper()
	one := service.Node{ID: "one", URL: "http://one", Region: "eu", AvailabilityZone: "a", LastHeartbeat: start, Usage: service.Usage{CPU: service.Gauge{Total: 1, Used: 2, Percent: 3}}}
	two := service.Node{ID: "two", URL: "http://two", LastHeartbeat: start}
	save := func(n service.Node) {
		t.Helper()
		if err := s.SaveNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	nodes := func(ctx context.Context, ids ...string) []service.Node {
		t.Helper()
		got, err := s.Nodes(ctx, ids)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	save(two)
	save(one)
	one.Region = "us"
	save(one)
	if diff := cmp.Diff([]service.Node{one, two}, nodes(t.Context())); diff != "" {
		t.Errorf("nodes differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]service.Node{two}, nodes(t.Context(), "two", "three")); diff != "" {
		t.Errorf("nodes by id differ (-want +got):\n%s", diff)
	}
	// A machine that was renamed keeps its URL.
	one.ID = "uno"
	save(one)
	if got := nodes(t.Context()); len(got) != 2 {
		t.Errorf("there are %d nodes, not 2", len(got))
	}
	if err := s.DeleteNode(t.Context(), "http://one"); err != nil {
		t.Fatal(err)
	}
	wantSame(t, s.DeleteNode(t.Context(), "http://one"), service.NoNode("http://one"))
}
