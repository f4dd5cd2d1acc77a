package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"micromesh/forwarder/targettest"
	"micromesh/internal/cluster"
)

// forwarding starts a mesh with a forwarder to a target, and gives the admin's token.
func forwarding(t *testing.T, to *targettest.Server) (*mesh, string) {
	t.Helper()
	of := map[string]map[string]string{
		"user": {"MICRO_ADMIN_PASSWORD": adminPassword},
		"forwarder": {
			"MICRO_FORWARD_TARGET": "mixpanel", "MICRO_FORWARD_URL": to.URL(), "MICRO_FORWARD_TOKEN": "token-of-project", "MICRO_FORWARD_TIMEOUT": "2s",
			"MICRO_FORWARD_BATCH": "10", "MICRO_FORWARD_WAIT": "50ms", "MICRO_FORWARD_MAX_RETRY": "200ms",
		},
	}
	m := &mesh{cluster.Start(t, cluster.Config{Of: of})}
	return m, m.login(t, admin, adminPassword)
}

// registrations are the slugs of the accounts whose registration arrived, each as often as under another id.
func registrations(to *targettest.Server) map[string]int {
	slugs := map[string]int{}
	for _, e := range to.Once() {
		if slug, ok := e.Fields["account.slug"].(string); ok && e.Name == "accounts.ACCOUNT_REGISTERED" {
			slugs[slug]++
		}
	}
	return slugs
}

// TestAForwarderThatIsKilledLosesAndDoublesNothing kills it with the events in flight: some that the target has read and not
// answered, some that it has not.
func TestAForwarderThatIsKilledLosesAndDoublesNothing(t *testing.T) {
	to := targettest.Start(t)
	m, _ := forwarding(t, to)
	forwarder, want := m.Services["forwarder"][0], 0
	for round := range 2 {
		to.Fail(targettest.Broken, targettest.Hang)
		for range 8 {
			m.must(t, "POST", "/user-svc/register", "", credentials(fmt.Sprint("joe-", want), "password-of-joe"))
			want++
		}
		eventually(t, func() error {
			if n := to.Failing(); n > 0 {
				return fmt.Errorf("the target has %d failures left in round %d", n, round)
			}
			return nil
		})
		forwarder.Kill()
		m.must(t, "POST", "/user-svc/register", "", credentials(fmt.Sprint("joe-", want), "password-of-joe"))
		want++
		forwarder.Start()
	}
	eventually(t, func() error {
		if n := len(registrations(to)); n < want {
			return fmt.Errorf("%d of %d registrations arrived: %s", n, want, forwarder.Log())
		}
		return nil
	})
	for slug, n := range registrations(to) {
		if n != 1 {
			t.Errorf("the registration of %s arrived under %d ids", slug, n)
		}
	}
	if strings.Contains(forwarder.WholeLog(), "token-of-project") {
		t.Error("the token is in the log")
	}
}

// TestWhatATargetRefusesIsADeadLetterUntilItIsGivenBack has one event of many refused, looks for it by the gateway, and gives
// it back.
func TestWhatATargetRefusesIsADeadLetterUntilItIsGivenBack(t *testing.T) {
	to := targettest.Start(t)
	m, root := forwarding(t, to)
	to.Refuse(func(e targettest.Event) string {
		if e.Fields["account.slug"] == "bad-joe" && e.Name == "accounts.ACCOUNT_REGISTERED" {
			return "is not wanted"
		}
		return ""
	})
	for _, slug := range []string{"joe", "bad-joe", "jim"} {
		m.must(t, "POST", "/user-svc/register", "", credentials(slug, "password-of-"+slug))
	}
	var letter obj
	dead := func() []any {
		return m.must(t, "GET", "/gateway-svc/dead?consumer=forwarder-svc", root, nil)["dead"].([]any)
	}
	eventually(t, func() error {
		letters := dead()
		if len(letters) != 1 {
			return fmt.Errorf("dead letters are %v", letters)
		}
		letter = letters[0].(obj)
		return nil
	})
	if letter["type"] != "micromesh.accounts.ACCOUNT_REGISTERED" || letter["why"] != "the event is refused: event: is not wanted" {
		t.Errorf("the dead letter is %v", letter)
	}
	arrived := func(slug string) {
		t.Helper()
		eventually(t, func() error {
			if got := registrations(to); got[slug] == 0 {
				return fmt.Errorf("registrations of %v arrived, not of %s", got, slug)
			}
			return nil
		})
	}
	arrived("joe")
	arrived("jim")
	if n := registrations(to)["bad-joe"]; n > 0 {
		t.Errorf("what is refused arrived %d times", n)
	}
	to.Refuse(nil)
	out := m.must(t, "POST", "/gateway-svc/replay?consumer=forwarder-svc&id="+letter["id"].(string), root, obj{})
	if out["replayed"] != 1.0 {
		t.Errorf("the replay gives back %v", out)
	}
	arrived("bad-joe")
	if letters := dead(); len(letters) > 0 {
		t.Errorf("dead letters are %v", letters)
	}
	m.must(t, "POST", "/user-svc/register", "", credentials("last", "password-of-last"))
	arrived("last")
	times := 0
	for _, e := range to.Received() {
		if e.ID == letter["id"] {
			times++
		}
	}
	if times != 1 {
		t.Errorf("what was given back arrived %d times", times)
	}
}
