package chaos_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"micromesh/internal/chaos"
	"micromesh/internal/cluster"
)

const (
	rate   = 200                  // requests a second
	work   = 2 * time.Millisecond // an instance's
	giveUp = 3 * time.Second      // when a client no longer waits
)

// shop starts a mesh with instances of shop-svc in processes of their own, and waits until each gets requests.
func shop(t *testing.T, n int, cfg cluster.Config) (*mesh, []*instance) {
	t.Helper()
	m := start(t, cfg)
	for id := range m.instances(t) { // the one that every mesh begins with
		m.remove(t, id)
	}
	var all []*instance
	for range n {
		all = append(all, m.instance(t, work))
	}
	for _, i := range all {
		m.awaitTraffic(t, i.URL)
	}
	return m, all
}

func (m *mesh) remove(t *testing.T, id string) {
	t.Helper()
	m.Do(t, "DELETE", "/registry-svc/instance/"+id, m.token, nil).Must(t, http.StatusNoContent)
}

// awaitTraffic waits until an instance gets requests.
func (m *mesh) awaitTraffic(t *testing.T, url string) {
	t.Helper()
	eventually(t, url+" gets requests", patience, func() bool {
		a, err := ask(t.Context(), "GET", m.URL+"/shop-svc/", "", nil)
		return err == nil && a.Header.Get(byHeader) == url
	})
}

func TestInstanceDies(t *testing.T) {
	const row = "an instance dies"
	m, all := shop(t, 3, cluster.Config{})
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	tr.flow(3 * time.Second)
	at := tr.now()
	all[0].signal(t, syscall.SIGKILL)
	tr.flow(5 * time.Second)
	got := tr.end()
	before, after := got.sent(time.Second, at), got.sent(at-100*time.Millisecond, tr.now())
	figure(t, row, "%d of %d requests lost; the slowest took %v before, %v after", got.failed(), len(got), before.slowest(), after.slowest())
	if got.failed() > 0 {
		t.Errorf("%d of %d requests lost: %v", got.failed(), len(got), got.statuses())
	}
	if most := before.slowest() + 50*time.Millisecond + slack; after.slowest() > most {
		t.Errorf("the slowest took %v, want at most %v", after.slowest(), most)
	}
	if n := got.sent(at+time.Second, tr.now()).by(all[0].URL); n > 0 {
		t.Errorf("%d answers of the dead", n)
	}
}

// TestInstanceHangs stops an instance, whose kernel goes on accepting connections, or puts a black hole in front of it.
func TestInstanceHangs(t *testing.T) {
	for name, hang := range map[string]func(*testing.T, *instance, *chaos.Proxy){
		"it hangs":                     func(t *testing.T, i *instance, _ *chaos.Proxy) { i.signal(t, syscall.SIGSTOP) },
		"it accepts and never answers": func(t *testing.T, _ *instance, p *chaos.Proxy) { set(t, p, chaos.BlackHole) },
	} {
		t.Run(name, func(t *testing.T) {
			m, all := shop(t, 4, cluster.Config{})
			m.remove(t, all[0].ID)
			p, _ := m.behind(t, all[0].URL, 0)
			m.awaitTraffic(t, all[0].URL)
			tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
			tr.flow(3 * time.Second)
			at := tr.now()
			hang(t, all[0], p)
			tr.flow(10 * time.Second)
			got := tr.end()
			first, later := got.sent(at-50*time.Millisecond, at+time.Second), got.sent(at+time.Second, tr.now())
			figure(t, name, "%d of the %d requests around its last second failed (%.1f %%), %d of the %d after", first.failed(), len(first), first.share(first.failed()), later.failed(), len(later))
			if first.failed() > len(first)/100+1 {
				t.Errorf("%d of %d requests failed in the first second: %v", first.failed(), len(first), first.statuses())
			}
			// One request finds out from time to time whether it is well again.
			if later.failed() > int((tr.now()-at)/(2*time.Second)) || later.by(all[0].URL) > 0 {
				t.Errorf("%d of %d requests failed when it should be out of rotation: %v", later.failed(), len(later), later.statuses())
			}
		})
	}
}

// TestInstanceFlaps cuts an instance off for half of each second, about: times out are whole seconds.
func TestInstanceFlaps(t *testing.T) {
	const row = "an instance flaps at 1 Hz"
	m, all := shop(t, 4, cluster.Config{})
	m.remove(t, all[0].ID)
	p, _ := m.behind(t, all[0].URL, 0)
	m.awaitTraffic(t, all[0].URL)
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	for range 20 {
		set(t, p, chaos.Refusal)
		tr.flow(450 * time.Millisecond)
		set(t, p, chaos.None)
		tr.flow(450 * time.Millisecond)
	}
	got := tr.end()
	var last, out time.Duration // since its last answer, and the longest such time
	for _, a := range got {
		if a.by == all[0].URL {
			out, last = max(out, a.at-last), a.at
		}
	}
	out = max(out, tr.now()-last)
	figure(t, row, "%d of %d requests failed (%.2f %%); it was out for up to %v", got.failed(), len(got), got.share(got.failed()), out.Round(100*time.Millisecond))
	if got.share(got.failed()) > 0.5 {
		t.Errorf("%d of %d requests failed: %v", got.failed(), len(got), got.statuses())
	}
	if out < 4*time.Second { // 1 s, 2 s, 4 s
		t.Errorf("its time out did not grow: the longest is %v", out)
	}
}

func TestOneInstanceIsTwentyTimesSlower(t *testing.T) {
	const row = "one instance 20 times slower"
	m, all := shop(t, 4, cluster.Config{})
	m.remove(t, all[0].ID)
	p, _ := m.behind(t, all[0].URL, 20*work)
	m.awaitTraffic(t, all[0].URL)
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	tr.flow(3 * time.Second)
	at := tr.now()
	set(t, p, chaos.Slow)
	tr.flow(13 * time.Second)
	got := tr.end()
	before, after := got.sent(0, at), got.sent(at+3*time.Second, tr.now())
	share := after.share(after.by(all[0].URL))
	figure(t, row, "%.1f %% of the traffic before, %.1f %% from 3 s after; %d of %d requests failed", before.share(before.by(all[0].URL)), share, got.failed(), len(got))
	if share >= 5 {
		t.Errorf("it gets %.1f %% of the traffic", share)
	}
	if got.failed() > 0 {
		t.Errorf("%d of %d requests failed: %v", got.failed(), len(got), got.statuses())
	}
}

// TestMostInstancesAreUnhealthy stops six of ten, with one more that still runs but is not registered any more.
func TestMostInstancesAreUnhealthy(t *testing.T) {
	const row = "60 %% of the instances unhealthy"
	m, all := shop(t, 11, cluster.Config{})
	gone, sick, well := all[0], all[1:7], all[7:]
	m.remove(t, gone.ID)
	tr := newTraffic(t, m.URL+"/shop-svc/", rate, giveUp)
	tr.flow(2 * time.Second) // the gateway hears of the removal
	at := tr.now()
	for _, i := range sick {
		i.signal(t, syscall.SIGSTOP)
	}
	tr.flow(10 * time.Second)
	got := tr.end()
	first, later := got.sent(at-50*time.Millisecond, at+time.Second), got.sent(at+time.Second, tr.now())
	figure(t, row, "%d of %d requests failed in the first second, %d of %d after; %d went to the one that was removed", first.failed(), len(first), later.failed(), len(later), got.sent(at, tr.now()).by(gone.URL))
	if later.share(later.failed()) > 1 {
		t.Errorf("%d of %d requests failed: %v", later.failed(), len(later), later.statuses())
	}
	if n := got.sent(at, tr.now()).by(gone.URL); n > 0 {
		t.Errorf("%d requests went to an instance that is not registered any more", n)
	}
	for _, i := range well {
		if later.by(i.URL) == 0 {
			t.Errorf("%s is well and gets no requests", i.URL)
		}
	}
}

// brief are leases that a test can outlive.
var brief = map[string]map[string]string{"registry": {"MICRO_LEASE": "2s", "MICRO_CHECK_INTERVAL": "300ms", "MICRO_CHECK_TIMEOUT": "200ms"}}

// TestAllHeartbeatsAreLost has the registry see and hear nothing for longer than a lease: once because it doesn't run, once
// because it reaches none of the instances, none of which beats.
func TestAllHeartbeatsAreLost(t *testing.T) {
	const row = "all heartbeats lost at once"
	const fleet = 12
	m := start(t, cluster.Config{Of: brief})
	web := httptest.NewServer(answering("web", 0))
	t.Cleanup(web.Close)
	var proxies []*chaos.Proxy
	for range fleet - 1 { // with the one that every mesh begins with
		p, _ := m.behind(t, web.URL, 0)
		proxies = append(proxies, p)
	}
	before := m.instances(t)
	for name, lose := range map[string]func(during func()){
		"the registry was stopped": func(during func()) {
			registry := m.cluster.Services["registry"][0]
			registry.Signal(syscall.SIGSTOP)
			during()
			registry.Signal(syscall.SIGCONT)
		},
		"the registry reaches nobody": func(during func()) {
			for _, p := range proxies {
				set(t, p, chaos.Refusal)
			}
			during()
			for _, p := range proxies {
				set(t, p, chaos.None)
			}
		},
	} {
		m.beat(t, proxies)                                 // they have been beating until now
		lose(func() { <-time.After(3 * 2 * time.Second) }) // three leases
		back := eventually(t, "the registry answers", patience, func() bool {
			return status(t, "GET", m.URL+"/registry-svc/instances?slug=shop-svc", m.token, nil) == http.StatusOK
		})
		<-time.After(2 * time.Second) // long enough to expire what is taken for dead
		after := m.instances(t)
		figure(t, row, "%s for three leases: %d of %d instances are there, and it answered after %v", name, len(after), len(before), back.Round(time.Millisecond))
		if len(after) != len(before) {
			t.Errorf("%s: of %d instances %d are left", name, len(before), len(after))
		}
		eventually(t, "all serve again", patience, func() bool { return status(t, "GET", m.URL+"/shop-svc/", "", nil) == http.StatusOK })
	}
	set(t, proxies[0], chaos.Refusal) // one alone is what expiry is for
	eventually(t, "one instance that is silent expires", patience, func() bool {
		m.beat(t, proxies[1:])
		return len(m.instances(t)) == len(before)-1
	})
}

// beat registers instances behind proxies by version 2 of the API, so that each has a lease.
func (m *mesh) beat(t *testing.T, proxies []*chaos.Proxy) {
	t.Helper()
	for _, p := range proxies {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, m.URL+"/registry-svc/instance", strings.NewReader(`{"url":"http://`+p.Address()+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+m.token)
		req.Header.Set("Mesh-Api-Version", "2")
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = rsp.Body.Close()
		if rsp.StatusCode != http.StatusCreated {
			t.Fatalf("a heartbeat is answered with %d", rsp.StatusCode)
		}
	}
}
