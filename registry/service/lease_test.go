package service_test

import (
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
		for _, url := range []string{dead, beating, silent} {
			f.register(url)
		}
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
		f.register(address(1))
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

// TestAWellInstanceThatNeverBeatsHasItsLeaseWhenItFalls cuts off the checks of a few instances that registered once, long ago:
// too few for expiry to freeze.
func TestAWellInstanceThatNeverBeatsHasItsLeaseWhenItFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		const all = 5
		for i := range all {
			f.register(address(i))
		}
		time.Sleep(30 * time.Minute)
		for i := range all {
			f.world.set(address(i), routing.Unreachable)
		}
		time.Sleep(lease - interval)
		synctest.Wait()
		if n := len(f.svc.Instances()); n != all {
			t.Errorf("%d of %d are left although they were well a moment ago", n, all)
		}
		time.Sleep(4 * interval)
		synctest.Wait()
		if n := len(f.svc.Instances()); n != 0 {
			t.Errorf("%d are still there", n)
		}
	})
}

func TestHeartbeatsOfAnotherClockExpireNothing(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 5 * time.Minute, "back": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				for i := range 5 {
					f.world.set(address(i), routing.Unreachable)
					f.register(address(i))
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
		f.register(address(1))
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
		f.register(address(1))
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
