package service_test

import (
	"context"
	"hash/crc32"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

// group is registries that know each other.
type group struct {
	mu      sync.Mutex
	members []*service.Service
	live    []int // of members
	deaf    bool  // nobody is told anything
}

// peer is one member's view of a group.
type peer struct {
	*group
	n int
}

func (p peer) Mine(piece string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.live) == 0 || p.live[int(crc32.ChecksumIEEE([]byte(piece)))%len(p.live)] == p.n
}

func (p peer) Alone() bool { return false }

func (p peer) Hears() bool { return true }

func (p peer) Tell(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deaf {
		return
	}
	for _, n := range p.live {
		if n != p.n {
			go func() { _ = p.members[n].Learn(context.Background(), ids...) }() // what fails is found out later
		}
	}
}

// newPair gives two registries on one database, each in a fixture of its own with the same world.
func newPair(t *testing.T) (a, b *fixture, g *group) {
	t.Helper()
	g = &group{}
	a = newFixtureOf(t, peer{g, 0}, nil)
	b = newFixtureOf(t, peer{g, 1}, a)
	g.mu.Lock()
	g.members, g.live = []*service.Service{a.svc, b.svc}, []int{0, 1}
	g.mu.Unlock()
	return a, b, g
}

// try registers, and may fail.
func (f *fixture) try(r service.Registration) (*service.Result, error) {
	f.Helper()
	return f.svc.Register(f.Context(), pets, r)
}

func at(i int) service.Registration {
	return service.Registration{Address: service.Address{URL: address(i)}}
}

func TestRegistriesKnowWhatTheOthersChange(t *testing.T) {
	for name, deaf := range map[string]bool{"when they are told": false, "when they are not": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, g := newPair(t)
				g.deaf = deaf
				settle := func() {
					if deaf {
						time.Sleep(4 * time.Second)
					}
					synctest.Wait()
				}
				in := a.register(address(1))
				settle()
				if got, ok := b.svc.Instance(in.ID); !ok || got.URL != in.URL {
					t.Fatalf("the other knows %+v", got)
				}
				moved := at(2)
				moved.ID = in.ID
				if r, err := b.try(moved); err != nil || r.Instance.Generation != 2 {
					t.Fatalf("moved by the other: %+v, %v", r, err)
				}
				settle()
				if got, _ := a.svc.Instance(in.ID); got.URL.String() != address(2) || got.Generation != 2 {
					t.Errorf("the first knows %+v", got)
				}
				if _, err := a.svc.Remove(t.Context(), pets, in.ID); err != nil {
					t.Fatal(err)
				}
				settle()
				if _, ok := b.svc.Instance(in.ID); ok {
					t.Error("the other still knows what was removed")
				}
			})
		})
	}
}

// TestRegistrationsReachEitherRegistryAtOnce calls the other registry before it can have heard of anything.
func TestRegistrationsReachEitherRegistryAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, g := newPair(t)
		g.deaf = true
		in := a.register(address(1))
		beat := at(1)
		beat.Generation = in.Generation
		r, err := b.try(beat)
		if err != nil || r.Changed || r.Instance.ID != in.ID || r.Instance.Generation != 1 {
			t.Fatalf("a heartbeat gave %+v, %v", r, err)
		}
		changed := at(1)
		changed.DeploymentID = "d2"
		if r, err = b.try(changed); err != nil || r.Instance.Generation != 2 {
			t.Fatalf("a change gave %+v, %v", r, err)
		}
		beat = changed
		beat.Generation = 2
		if r, err = a.try(beat); err != nil || r.Changed || r.Instance.Generation != 2 {
			t.Fatalf("the heartbeat of a version that it doesn't know gave %+v, %v", r, err)
		}
		if r, err = b.try(at(1)); err != nil || r.Instance.Generation != 3 {
			t.Fatalf("changed back: %+v, %v", r, err)
		}
		if err := a.svc.Learn(t.Context(), in.ID); err != nil {
			t.Fatal(err)
		}
		changed.DeploymentID = "d3"
		for _, as := range []service.Registration{changed, at(1)} {
			if r, err = b.try(as); err != nil {
				t.Fatal(err)
			}
		}
		beat = at(1)
		beat.Generation = r.Instance.Generation
		if r, err = a.try(beat); err != nil || r.Instance.Generation != 5 {
			t.Fatalf("the heartbeat of a later version that looks the same gave %+v, %v", r, err)
		}
		in = a.register(address(3))
		if _, err := b.svc.Remove(t.Context(), pets, in.ID); err != nil {
			t.Errorf("removing what the other has added: %v", err)
		}
		a.register(address(4))
		if _, err := b.svc.Register(t.Context(), service.Caller{UserID: "u", Slug: "shop"}, at(4)); !errs.Is(err, errs.Conflict) {
			t.Errorf("another account took its URL: %v", err)
		}
		synctest.Wait()
		if n := told[service.Registered](a.store); n != 3 {
			t.Errorf("%d registrations were told, not 3", n)
		}
	})
}

func TestWhatFollowsAtAURLReplacesWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, g := newPair(t)
		g.deaf = true
		first := a.register(address(1))
		if _, err := b.svc.Remove(t.Context(), pets, first.ID); err != nil {
			t.Fatal(err)
		}
		second := at(1)
		second.ID = "second"
		if _, err := b.try(second); err != nil {
			t.Fatal(err)
		}
		if err := a.svc.Learn(t.Context(), "second"); err != nil {
			t.Fatal(err)
		}
		if _, ok := a.svc.Instance(first.ID); ok || len(a.svc.Instances()) != 1 {
			t.Errorf("known are %+v", a.svc.Instances())
		}
	})
}

func TestEachInstanceIsCheckedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _, _ := newPair(t)
		const all = 40
		for i := range all {
			a.register(address(i))
		}
		time.Sleep(10 * time.Second) // what began before both knew each other is over
		before := make([]int, all)
		for i := range before {
			before[i] = a.world.checksOf(address(i))
		}
		const intervals = 20
		time.Sleep(intervals * interval)
		for i := range before {
			if n := a.world.checksOf(address(i)) - before[i]; n < intervals-3 || n > intervals+3 {
				t.Errorf("%s was checked %d times in %d intervals", address(i), n, intervals)
			}
		}
	})
}

func TestStatusThatOneSawIsKnownToAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := newPair(t)
		for i := range 10 {
			a.register(address(i))
		}
		time.Sleep(2 * interval)
		a.world.set(address(3), routing.Error)
		time.Sleep(2 * interval)
		synctest.Wait()
		for i := range 10 {
			want := routing.Healthy
			if i == 3 {
				want = routing.Error
			}
			if a.status(address(i)) != want || b.status(address(i)) != want {
				t.Errorf("%s is %s to one and %s to the other, want %s", address(i), a.status(address(i)), b.status(address(i)), want)
			}
		}
	})
}

// TestWhatOneHearsOfExpiresWithNone sends all heartbeats to one registry: those that the other one checks live by what is
// stored.
func TestWhatOneHearsOfExpiresWithNone(t *testing.T) {
	for name, deaf := range map[string]bool{"told": false, "not told": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, g := newPair(t)
				g.deaf = deaf
				const all = 9 // less than what freezes expiry
				for i := range all {
					a.world.set(address(i), routing.Unreachable)
					a.beat(address(i))
				}
				silent := a.beat(address(100)).Instance.ID
				a.world.set(address(100), routing.Unreachable)
				for range 20 {
					time.Sleep(5 * time.Second)
					for i := range all {
						a.beat(address(i))
					}
				}
				synctest.Wait()
				if n := told[service.Expired](a.store); n != 1 || len(b.svc.Instances()) != all || len(a.svc.Instances()) != all {
					t.Errorf("%d expired, and %d and %d are left; want one, and %d", n, len(a.svc.Instances()), len(b.svc.Instances()), all)
				}
				if _, ok := a.svc.Instance(silent); ok {
					t.Error("what nobody has heard of is still there")
				}
			})
		})
	}
}

func TestWhatADeadRegistryLookedAfterIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, g := newPair(t)
		const all = 8
		for i := range all {
			a.register(address(i))
		}
		time.Sleep(2 * interval)
		a.halt()
		g.mu.Lock()
		g.live = []int{1}
		g.mu.Unlock()
		for i := range all {
			b.world.set(address(i), routing.Error)
		}
		time.Sleep(3 * interval)
		synctest.Wait()
		for i := range all {
			if b.status(address(i)) != routing.Error {
				t.Errorf("%s is %s: nobody looks after it", address(i), b.status(address(i)))
			}
		}
	})
}
