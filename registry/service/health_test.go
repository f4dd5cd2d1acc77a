package service_test

import (
	"testing"
	"testing/synctest"
	"time"

	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

func TestStatusFollowsTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		url := address(1)
		f.register(url)
		for _, step := range []struct{ is, want routing.Status }{
			{routing.Healthy, routing.Healthy},
			{routing.Degraded, routing.Degraded},
			{routing.Unreachable, routing.Degraded}, // one failure says nothing yet
			{routing.Unreachable, routing.Unreachable},
			{routing.Error, routing.Error},
			{routing.Healthy, routing.Healthy},
		} {
			f.world.set(url, step.is)
			f.nextCheck(url)
			if got := f.status(url); got != step.want {
				t.Errorf("after a check that found %s the status is %s, not %s", step.is, got, step.want)
			}
		}
		time.Sleep(time.Second)
		if n := told[service.StatusChanged](f.store); n != 5 {
			t.Errorf("%d changes of the status were told, not 5", n)
		}
		if in := f.store.instance(url); in.Status != routing.Healthy {
			t.Errorf("%s is stored", in.Status)
		}
	})
}

func TestManyAreCheckedAtOnceButNotAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.world.slow(time.Second)
		for i := range 640 {
			f.register(address(i))
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := f.world.busiest(); n != 64 {
			t.Errorf("%d were checked at once, not 64", n)
		}
		for i := range 640 {
			if f.world.checksOf(address(i)) == 0 {
				t.Fatalf("instance %d was never checked", i)
			}
		}
	})
}

func TestChecksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for i := range 200 {
			f.register(address(i))
		}
		time.Sleep(time.Minute)
		f.world.busiest()
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		for i := range 200 {
			if n := f.world.checksOf(address(i)); n < 55 || n > 67 {
				t.Fatalf("instance %d was checked %d times in 5 minutes", i, n)
			}
		}
		if n := f.world.busiest(); n > 30 {
			t.Errorf("%d checks came at once: they go in step", n)
		}
	})
}

func TestWhatIsRemovedIsCheckedNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		in := f.register(address(1))
		time.Sleep(time.Minute)
		if _, err := f.svc.Remove(t.Context(), pets, in.ID); err != nil {
			t.Fatal(err)
		}
		n := f.world.checksOf(address(1))
		time.Sleep(time.Minute)
		if got := f.world.checksOf(address(1)); got != n {
			t.Errorf("it was checked %d times after it was removed", got-n)
		}
	})
}

func TestStatusIsStoredWhenTheDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		url := address(1)
		f.register(url)
		time.Sleep(time.Second)
		f.store.fail(errOut)
		f.world.set(url, routing.Error)
		time.Sleep(10 * time.Second)
		if got := f.status(url); got != routing.Error {
			t.Errorf("while the database is away the status is %s", got)
		}
		f.store.fail(nil)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if in := f.store.instance(url); in.Status != routing.Error || told[service.StatusChanged](f.store) != 2 {
			t.Errorf("%s is stored, and %d changes were told", in.Status, told[service.StatusChanged](f.store))
		}
	})
}
