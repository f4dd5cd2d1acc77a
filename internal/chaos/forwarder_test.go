package chaos_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"micromesh/forwarder/targettest"
	"micromesh/internal/cluster"
)

// targetAway has an instance move from URL to URL while the target of the forwarder doesn't take events: it refuses
// connections, reads and never answers, fails, or doesn't know the forwarder, in turn; the forwarder is killed
// meanwhile. Then the target is well again, and must be told of every move, once, in their order.
func targetAway(t *testing.T, row string, lasts time.Duration) {
	to := targettest.Start(t)
	m := start(t, cluster.Config{Of: map[string]map[string]string{
		"user": {"MICRO_TOKEN_EXPIRATION": "24h"},
		"forwarder": {
			"MICRO_FORWARD_TARGET": "mixpanel", "MICRO_FORWARD_URL": to.URL(), "MICRO_FORWARD_TOKEN": "token-of-project",
			"MICRO_FORWARD_TIMEOUT": "1s", "MICRO_FORWARD_MAX_RETRY": "500ms",
		},
	}})
	mover := m.Register(t, "mover-svc")
	var urls []string
	move := func() {
		t.Helper()
		url := fmt.Sprintf("http://127.0.1.1:82/%d", len(urls))
		m.Do(t, "PUT", "/registry-svc/instance", mover, obj{"id": "mover", "url": url}).Must(t, http.StatusCreated)
		urls = append(urls, url)
	}
	move()
	eventually(t, "the first event arrives", patience, func() bool { return len(told(to)) == 1 })

	const often = 250 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	ways := []func(){
		to.Down,
		func() { to.Up(); to.Fail(slices.Repeat([]targettest.Fault{targettest.Hang}, all)...) },
		func() { to.Heal(); to.Fail(slices.Repeat([]targettest.Fault{targettest.Broken}, all)...) },
		func() { to.Heal(); to.Fail(slices.Repeat([]targettest.Fault{targettest.Login}, all)...) },
	}
	each := lasts / time.Duration(len(ways))
	var tries [4]int
	kills := 0
	for i, away := range ways {
		away()
		began, kill := time.Now(), i == len(ways)-1 || each > takeover
		for ; time.Since(began) < each; <-tick.C {
			move()
			if p := m.cluster.Services["forwarder"][0]; kill && time.Since(began) > each/2 {
				p.Kill()
				p.Start()
				kill = false
				kills++
			}
		}
		if i > 0 {
			tries[i] = all - to.Failing()
		}
		if i > 0 && tries[i] == 0 {
			t.Errorf("nothing was tried in part %d of the outage", i)
		}
	}
	to.Heal()
	took := eventually(t, "all events arrive", patience, func() bool { return len(told(to)) >= len(urls) })
	got := told(to)
	if !slices.Equal(got, urls) {
		t.Errorf("%d moves, of which the target was told %d: %v", len(urls), len(got), got)
	}
	again := len(to.Received()) - len(to.Once())
	figure(t, row, "%v, the forwarder killed %d times: of %d events %d came, in order; %v requests in the parts of it; %d events were read and not acknowledged, and came again under their ids; all there %v after its return",
		lasts, kills, len(urls), len(got), tries, again, took.Round(time.Millisecond))
}

// takeover is how long another process waits before it sends in the place of one that was killed.
const takeover = 10 * time.Second

// all is more than the forwarder makes requests in any outage.
const all = 100_000

// told are the URLs of the moves that a target was told of, in the order in which it heard of each first.
func told(to *targettest.Server) (urls []string) {
	for _, e := range to.Once() {
		if e.Name == "instances.INSTANCE_CHANGED" || e.Name == "instances.INSTANCE_REGISTERED" {
			if e.Fields["instance.id"] == "mover" {
				urls = append(urls, fmt.Sprint(e.Fields["instance.url"]))
			}
		}
	}
	return urls
}

func TestTargetOfTheForwarderIsAway(t *testing.T) {
	targetAway(t, "the forwarder's target is away", targetSpan)
}
