package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"micromesh/forwarder/targettest"
	"micromesh/internal/cluster"
)

// forwarding starts a mesh with a forwarder to a target.
func forwarding(t *testing.T, to *targettest.Server) *mesh {
	t.Helper()
	of := map[string]map[string]string{
		"forwarder": {
			"MICRO_FORWARD_TARGET": "mixpanel", "MICRO_FORWARD_URL": to.URL(), "MICRO_FORWARD_TOKEN": "token-of-project", "MICRO_FORWARD_TIMEOUT": "2s",
			"MICRO_FORWARD_BATCH": "10", "MICRO_FORWARD_WAIT": "50ms", "MICRO_FORWARD_MAX_RETRY": "200ms",
		},
	}
	return &mesh{cluster.Start(t, cluster.Config{Of: of})}
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
	m := forwarding(t, to)
	forwarder, want := m.Services["forwarder"][0], 0
	for _, faults := range [][]targettest.Fault{{targettest.Hang}, {targettest.Broken, targettest.Broken, targettest.Broken, targettest.Broken}} {
		for range 8 {
			m.must(t, "POST", "/user-svc/register", "", credentials(fmt.Sprint("joe-", want), "password-of-joe"))
			want++
		}
		to.Fail(faults...)
		m.must(t, "POST", "/user-svc/register", "", credentials(fmt.Sprint("joe-", want), "password-of-joe"))
		want++
		eventually(t, func() error {
			if n := to.Failing(); n > len(faults)/2 {
				return fmt.Errorf("the target has %d of %d failures left", n, len(faults))
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
