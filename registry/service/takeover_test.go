package service_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"micromesh/pkg/errs"
	"micromesh/pkg/routing"
	"micromesh/registry/service"
)

var shop = service.Caller{UserID: "usr-shop", Slug: "shop"}

// owner is whose a URL is.
func (f *fixture) owner(url string) string {
	for _, in := range f.svc.Instances() {
		if in.URL.String() == url {
			return in.Slug
		}
	}
	return ""
}

// wantOwner has shop register a URL, and fails unless that is accepted, or refused, as it should be.
func (f *fixture) wantOwner(when, url string, version2 bool, want string) {
	f.Helper()
	_, err := f.as(shop, url, version2)
	if (err == nil) != (want == "shop") || err != nil && !errs.Is(err, errs.Conflict) || f.owner(url) != want {
		f.Errorf("%s: the URL is of %q, not of %q; error %v", when, f.owner(url), want, err)
	}
}

func TestAProvedAddressIsTheInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		url := address(1)
		keep := func(d time.Duration) { // beats for so long
			for range int(d / time.Second) {
				f.beat(url)
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		r := f.beat(url)
		if r.ProofKey != hex.EncodeToString(keyOf("pets", url)) || f.register(address(2)).Proves {
			t.Fatalf("the key is %q", r.ProofKey)
		}
		keep(10 * time.Second)
		if f.status(url) != routing.Healthy {
			t.Errorf("before the first proof it is %s", f.status(url))
		}
		f.world.prove(url, "pets")
		keep(10 * time.Second)
		f.world.prove(url, "shop") // which listens there, and answers checks
		keep(interval + time.Second)
		if f.status(url) != routing.Error {
			t.Errorf("while another account answers it is %s", f.status(url))
		}
		f.world.prove(url, "pets")
		keep(interval + time.Second)
		if f.status(url) != routing.Healthy {
			t.Errorf("when it proves itself again it is %s", f.status(url))
		}
		f.world.mu.Lock()
		f.world.mute[url] = true
		f.world.mu.Unlock()
		keep(interval + time.Second)
		if f.status(url) != routing.Unreachable {
			t.Errorf("while its address accepts and says nothing it is %s", f.status(url))
		}
		// A plain program of the same account follows: it has no key.
		f.register(url)
		keep2 := f.world.checksOf(url)
		f.nextCheck(url)
		if f.status(url) != routing.Healthy || f.world.checksOf(url) == keep2 {
			t.Errorf("a plain program of the account is %s", f.status(url))
		}
		time.Sleep(10 * lease)
		synctest.Wait()
		if f.status(url) != routing.Healthy {
			t.Error("it had the lease of the program before it")
		}
	})
}

func TestWhoHasAURLThatAnotherAccountRegisters(t *testing.T) {
	const long, short = 17 * time.Second, 4 * time.Second
	for name, row := range map[string]struct {
		holder, challenger bool     // of version 2
		proves             []string // whose keys the address has when the challenger comes
		refused            time.Duration
		beats              bool // meanwhile, from elsewhere
		want               string
	}{
		"both plain":                             {want: "pets"},
		"the address proves the challenger":      {challenger: true, proves: []string{"shop"}, want: "shop"},
		"and did prove the holder before":        {holder: true, challenger: true, proves: []string{"shop"}, beats: true, want: "shop"},
		"it proves the holder":                   {holder: true, challenger: true, proves: []string{"pets"}, beats: true, want: "pets"},
		"it proves both":                         {holder: true, challenger: true, proves: []string{"pets", "shop"}, beats: true, want: "pets"},
		"it proves neither":                      {holder: true, challenger: true, beats: true, want: "pets"},
		"it proves a third":                      {challenger: true, proves: []string{"dogs"}, want: "pets"},
		"a plain challenger can't prove":         {proves: []string{"shop"}, want: "pets"},
		"refused for long":                       {refused: long, want: "shop"},
		"refused for long, of version 2":         {refused: long, challenger: true, want: "shop"},
		"refused for a moment":                   {refused: short, want: "pets"},
		"refused for long, and the holder beats": {refused: long, beats: true, want: "pets"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				url := address(1)
				f.world.prove(url, "pets")
				wait := func(d time.Duration) {
					for range int(d / time.Second) {
						if row.beats {
							f.as(pets, url, row.holder)
						}
						time.Sleep(time.Second)
					}
					synctest.Wait()
				}
				if _, err := f.as(pets, url, row.holder); err != nil {
					t.Fatal(err)
				}
				wait(11 * time.Second)
				f.wantOwner("while it answers", url, false, "pets")
				if row.refused > 0 {
					f.world.set(url, routing.Unreachable)
					wait(row.refused)
				}
				f.world.set(url, routing.Healthy)
				f.world.prove(url, row.proves...)
				wait(2 * time.Second)
				f.wantOwner("then", url, row.challenger, row.want)
				wait(20 * time.Second)
				if _, err := f.as(pets, url, row.holder); (err == nil) != (row.want == "pets") {
					t.Errorf("then the holder's registration is answered with %v", err)
				}
			})
		})
	}
}

// TestSpellingsOfAURL has another account register the address of an instance in other spellings.
func TestSpellingsOfAURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		if _, err := f.as(pets, "http://localhost:9000/x", false); err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{"http://127.0.0.1:9000/x", "https://localhost:9000/x", "http://LOCALHOST:9000/x/", "http://[::1]:9000/x", "http://a.localhost:9000/x"} {
			if _, err := f.as(shop, url, false); !errs.Is(err, errs.Conflict) {
				t.Errorf("%s: %v", url, err)
			}
			if _, err := f.as(pets, url, false); err != nil {
				t.Errorf("%s, by its own account: %v", url, err)
			}
		}
		n := len(f.svc.Instances())
		for _, in := range f.svc.Instances() {
			if _, err := f.svc.Remove(t.Context(), pets, in.ID); err != nil {
				t.Error(err)
			}
			if n--; n > 0 {
				if _, err := f.as(shop, "http://127.0.0.1:9000/x", false); !errs.Is(err, errs.Conflict) {
					t.Errorf("with %d left: %v", n, err)
				}
			}
		}
		for _, url := range []string{"http://127.0.0.1:9000/x", "http://127.0.0.1:9001/x", "http://127.0.0.1:9000/y"} {
			if _, err := f.as(shop, url, false); err != nil {
				t.Errorf("%s, when it is free: %v", url, err)
			}
		}
	})
}

func TestTheHolderThatComesBackKeepsItsURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		url := address(1)
		f.register(url)
		f.world.set(url, routing.Unreachable)
		time.Sleep(time.Minute)
		before := f.register(url)
		f.world.set(url, routing.Healthy)
		f.wantOwner("after the holder's registration", url, false, "pets")
		if again := f.register(url); again.Generation != before.Generation {
			t.Error("each heartbeat of it is a change")
		}
	})
}

func TestTheKeyComesWithTheConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.register(address(1))
		_, err := f.as(shop, address(1), true)
		e, ok := errors.AsType[*errs.Error](err)
		if !ok || len(e.Details) != 1 || e.Details[0].Field != "proofKey" || e.Details[0].Message != hex.EncodeToString(keyOf("shop", address(1))) {
			t.Errorf("a caller of version 2 is answered %#v", err)
		}
		_, err = f.as(shop, address(1), false)
		if e, ok := errors.AsType[*errs.Error](err); !ok || len(e.Details) != 0 {
			t.Errorf("a plain caller is answered %#v", err)
		}
	})
}

func TestInstancesOfAnAccountExchangeURLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		move := func(id string, to int) {
			t.Helper()
			r := at(to)
			r.ID = id
			if got, err := f.try(r); err != nil || got.Instance.ID != id {
				t.Fatalf("%s registers at %d: %+v, %v", id, to, got, err)
			}
		}
		ids := []string{"a", "b", "c", "d"}
		for i, id := range ids {
			move(id, i)
		}
		for shift := range 9 { // each takes the next one's, one after the other
			for i, id := range ids {
				move(id, (i+shift)%len(ids))
			}
			for i, id := range ids {
				if in, ok := f.svc.Instance(id); !ok || in.URL.String() != address((i+shift)%len(ids)) {
					t.Fatalf("after %d shifts %s is %+v", shift, id, in)
				}
			}
		}
		if n := len(f.svc.Instances()); n != len(ids) {
			t.Errorf("there are %d instances", n)
		}
	})
}

// TestFourRegisterAtTheSameMoment has programs of one account register a URL at the same moment, and then programs of four accounts.
func TestFourRegisterAtTheSameMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { f.try(at(1)) })
		}
		wg.Wait()
		time.Sleep(10 * lease)
		synctest.Wait()
		if f.status(address(1)) != routing.Healthy || len(f.svc.Instances()) != 1 {
			t.Errorf("the instance is %q", f.status(address(1)))
		}
		won := make(chan string, 4)
		for _, slug := range []string{"ants", "bats", "cats", "dogs"} {
			f.world.prove(address(2), slug)
			wg.Go(func() {
				if _, err := f.as(service.Caller{UserID: slug, Slug: slug}, address(2), false); err == nil {
					won <- slug
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || f.owner(address(2)) != <-won {
			t.Errorf("the URL is of %q", f.owner(address(2)))
		}
	})
}

// TestRegistriesAgreeWhoseAURLIs asks the registry that doesn't check the instance.
func TestRegistriesAgreeWhoseAURLIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := newPair(t)
		for i := range 8 {
			a.register(address(i))
			a.world.set(address(i), routing.Unreachable)
		}
		time.Sleep(10 * time.Second)
		for i := range 8 {
			b.wantOwner("after 10 s, of which others may have heard", address(i), false, "pets")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i := range 8 {
			a.world.set(address(i), routing.Healthy)
			if i%2 == 0 { // the holder comes first, by the other registry
				a.register(address(i))
				b.wantOwner("after the holder's registration", address(i), false, "pets")
				continue
			}
			b.wantOwner("after 30 s", address(i), false, "shop")
			synctest.Wait()
			if _, err := a.as(pets, address(i), false); !errs.Is(err, errs.Conflict) {
				t.Errorf("the holder before is answered with %v", err)
			}
			a.nextCheck(address(i))
			if a.owner(address(i)) != "shop" {
				t.Errorf("the other registry says that the URL is of %q", a.owner(address(i)))
			}
		}
		a.beat(address(20))
		b.world.prove(address(20), "shop")
		_, err := b.as(shop, address(20), true)
		if errs.Is(err, errs.Conflict) { // it had not heard of the holder; SDKs try twice
			_, err = b.as(shop, address(20), true)
		}
		if err != nil {
			t.Errorf("proved: %v", err)
		}
	})
}

// TestServicesDontTakeAddressesFromInstances names addresses in the node of a service: the one of an instance, and a free one.
func TestServicesDontTakeAddressesFromInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.register(address(1))
		at := func(url string) string { return strings.TrimPrefix(url, "http://") }
		f.world.mu.Lock()
		f.world.nodes = []service.RPCNode{{ID: "1", Service: "evil", Address: at(address(2)), Metadata: map[string]string{"addresses": at(address(1)) + "," + at(address(3))}}}
		f.world.mu.Unlock()
		for url, free := range map[string]bool{address(1): true, address(2): false, address(3): false, address(4): true} {
			if _, err := f.as(pets, url, true); (err == nil) != free || err != nil && !errs.Is(err, errs.Invalid) {
				t.Errorf("%s: %v", url, err)
			}
		}
	})
}
