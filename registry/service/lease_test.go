package service_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

func TestOnlyWhoIsNeitherWellNorHeardOfExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		dead, beating, silent := address(1), address(2), address(3)
		f.beat(dead)
		f.register(beating)
		f.register(silent)
		f.world.set(dead, routing.Unreachable)
		f.world.set(beating, routing.Unreachable)
		for range 20 {
			time.Sleep(3 * time.Second)
			f.register(beating)
		}
		synctest.Wait()
		if f.status(dead) != "" || f.status(beating) != routing.Unreachable || f.status(silent) != routing.Healthy {
			t.Errorf("the dead one is %q, the one that beats %q, the one that is well %q", f.status(dead), f.status(beating), f.status(silent))
		}
		if told[service.Expired](f.store) != 1 || len(f.svc.Instances()) != 2 {
			t.Errorf("%d expiries were told", told[service.Expired](f.store))
		}
		if f.world.changes(dead) < 3 { // registered, unreachable, gone
			t.Errorf("%d changes of it were published", f.world.changes(dead))
		}
	})
}

func TestLeaseHoldsUntilItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.world.set(address(1), routing.Unreachable)
		f.beat(address(1))
		time.Sleep(lease - 100*time.Millisecond)
		if f.status(address(1)) == "" {
			t.Fatal("it expired before its lease was over")
		}
		time.Sleep(interval + time.Second)
		synctest.Wait()
		if f.status(address(1)) != "" {
			t.Error("it did not expire")
		}
	})
}

func TestHeartbeatWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.register(address(1))
		time.Sleep(10 * time.Second)
		events, written := f.store.counts()
		f.store.fail(errOut)
		for range 100 {
			f.register(address(1))
		}
		f.store.fail(nil)
		time.Sleep(10 * time.Second)
		events2, written2 := f.store.counts()
		if events2 != events {
			t.Error("a heartbeat was told as an event")
		}
		if got := written2 - written; got != 1 {
			t.Errorf("100 heartbeats became %d updates, not one", got)
		}
	})
}

func TestExpiryFreezesWhenMostAreGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		const all = 100
		for range 20 {
			for i := range all {
				f.register(address(i))
			}
			time.Sleep(3 * time.Second)
		}
		// The registry is cut off: no heartbeat comes, no check succeeds.
		for i := range all {
			f.world.set(address(i), routing.Unreachable)
		}
		time.Sleep(5 * time.Minute)
		if n := len(f.svc.Instances()); n != all {
			t.Fatalf("%d of %d were evicted", all-n, all)
		}
		// The line is back, but for a few that have really gone.
		for i := range all - 3 {
			f.world.set(address(i), routing.Healthy)
			f.register(address(i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(f.svc.Instances()); n != all-3 {
			t.Errorf("%d instances are left, not %d", n, all-3)
		}
	})
}

// TestWhatRegisteredOnceIsKeptForADay cuts off the checks of instances that registered once, long ago.
func TestWhatRegisteredOnceIsKeptForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		const all = 3
		for i := range all {
			f.register(address(i))
		}
		time.Sleep(30 * time.Minute)
		for i := range all {
			f.world.set(address(i), routing.Unreachable)
		}
		time.Sleep(time.Minute)
		f.world.set(address(0), routing.Healthy) // it was away for a minute
		f.nextCheck(address(0))
		if f.status(address(0)) != routing.Healthy || f.status(address(1)) != routing.Unreachable {
			t.Errorf("the one that answers again is %q, another one %q", f.status(address(0)), f.status(address(1)))
		}
		time.Sleep(24*time.Hour - 2*time.Minute)
		synctest.Wait()
		if n := len(f.svc.Instances()); n != all {
			t.Errorf("%d of %d are left before a day is over", n, all)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := len(f.svc.Instances()); n != 1 || f.status(address(0)) != routing.Healthy {
			t.Errorf("%d are left after a day, not the one that answers", n)
		}
	})
}

// TestWhatBeatsHasALeaseWhateverAnswers ends the registrations of instances whose addresses go on answering.
func TestWhatBeatsHasALeaseWhateverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.beat(address(1))
		for range 4 {
			f.register(address(2)) // again three times
			f.register(address(3)) // and twice
			time.Sleep(2 * time.Second)
		}
		for range 4 {
			f.register(address(4)) // at one moment, which says nothing
			f.register(address(5)) // too seldom
			time.Sleep(10 * time.Millisecond)
		}
		f.register(address(3))
		f.svc.Remove(t.Context(), pets, f.register(address(3)).ID)
		f.register(address(3)) // what was removed doesn't count
		for range 4 {
			time.Sleep(lease + time.Second)
			f.beat(address(1))
			f.register(address(5))
		}
		time.Sleep(lease + 10*time.Millisecond)
		synctest.Wait()
		for i, there := range map[int]bool{1: false, 2: false, 3: true, 4: true, 5: true} {
			if (f.status(address(i)) == routing.Healthy) != there {
				t.Errorf("instance %d is %q", i, f.status(address(i)))
			}
		}
	})
}

// TestLeasesWaitForARegistryThatHearsNothing cuts off the registry from registrations alone.
func TestLeasesWaitForARegistryThatHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &deaf{}
		f := newFixtureOf(t, p, nil)
		f.beat(address(1))
		p.not.Store(true)
		time.Sleep(5 * time.Minute)
		p.not.Store(false)
		time.Sleep(lease - 2*interval)
		if f.status(address(1)) == "" {
			t.Error("it expired although no registration could arrive")
		}
		time.Sleep(3 * interval)
		if f.status(address(1)) != "" {
			t.Error("it did not expire")
		}
	})
}

// TestLeasesWaitForARegistryThatSleeps stops its clock's work, as a suspended machine does.
func TestLeasesWaitForARegistryThatSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for i := range 20 {
			f.beat(address(i))
		}
		time.Sleep(interval)
		f.asleep.Add(int64(time.Hour))
		time.Sleep(interval)
		synctest.Wait()
		if n := len(f.svc.Instances()); n != 20 {
			t.Errorf("%d of 20 are left after an hour in which nothing ran", n)
		}
	})
}

// deaf is the peers of a registry that no registration may reach.
type deaf struct {
	alone
	not atomic.Bool
}

func (d *deaf) Hears() bool { return !d.not.Load() }

func TestHeartbeatsOfAnotherClockExpireNothing(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 5 * time.Minute, "back": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				for i := range 5 {
					f.world.set(address(i), routing.Unreachable)
					f.beat(address(i))
				}
				// What wall clocks said is stored; leases must not be measured with it.
				jumped := time.Now().Add(jump).Round(0)
				f.store.mu.Lock()
				for id, in := range f.store.instances {
					in.LastHeartbeat = jumped
					f.store.instances[id] = in
				}
				f.store.mu.Unlock()
				f.halt()
				f.run()
				time.Sleep(20 * time.Second)
				if n := len(f.svc.Instances()); n != 5 {
					t.Errorf("%d of 5 are left", n)
				}
			})
		})
	}
}

func TestEveryLeaseBeginsAnewAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.world.set(address(1), routing.Unreachable)
		f.beat(address(1))
		time.Sleep(20 * time.Second)
		f.halt()
		time.Sleep(time.Hour)
		f.run()
		time.Sleep(20 * time.Second)
		if f.status(address(1)) == "" {
			t.Error("it expired because the registry was away")
		}
	})
}

func TestExpiryWaitsForTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.world.set(address(1), routing.Unreachable)
		f.beat(address(1))
		f.store.fail(errOut)
		time.Sleep(time.Minute)
		if f.status(address(1)) == "" {
			t.Fatal("it is gone, and the database doesn't know")
		}
		f.store.fail(nil)
		time.Sleep(2 * interval)
		synctest.Wait()
		if f.status(address(1)) != "" {
			t.Error("it did not expire")
		}
	})
}

func TestRegistrationIsRefusedWhereItCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.store.fail(errs.New(errs.Unavailable, "", "away"))
		_, err := f.svc.Register(t.Context(), pets, service.Registration{Address: service.Address{URL: address(1)}})
		if !errs.Is(err, errs.Unavailable) || len(f.svc.Instances()) != 0 {
			t.Errorf("got %v, and %d instances", err, len(f.svc.Instances()))
		}
	})
}

// TestAnInstanceThatRegistersAgainGetsRequests has a program come back, and say so before the next check.
func TestAnInstanceThatRegistersAgainGetsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for name, register := range map[string]func(){"once": func() { f.register(address(1)) }, "beats": func() { f.beat(address(2)) }} {
			url := map[string]string{"once": address(1), "beats": address(2)}[name]
			register()
			f.world.set(url, routing.Unreachable)
			time.Sleep(3 * interval) // one failed check is not enough
			synctest.Wait()
			if got := f.status(url); got != routing.Unreachable {
				t.Fatalf("%s: it is %q before", name, got)
			}
			f.world.set(url, routing.Healthy)
			register()
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			if got := f.status(url); got == routing.Unreachable || got == "" {
				t.Errorf("%s: it is %q after it has registered again", name, got)
			}
		}
	})
}
