package meshtest_test

import (
	"testing"
	"time"

	"micromesh/forwarder/targettest"
	"micromesh/internal/meshtest"
)

func TestDeadLettersAreForAdmins(t *testing.T) {
	m := meshtest.Start(t)
	tok := m.Register(t, "nosy-svc")
	admin := m.Admin(t)
	for _, r := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/gateway-svc/dead", "", 401},
		{"GET", "/gateway-svc/dead", tok, 403},
		{"GET", "/gateway-svc/dead", admin, 200},
		{"GET", "/gateway-svc/dead?consumer=*", admin, 400},
		{"POST", "/gateway-svc/replay?consumer=nosy-svc", "", 401},
		{"POST", "/gateway-svc/replay?consumer=nosy-svc", tok, 403},
		{"POST", "/gateway-svc/replay", admin, 400},
		{"GET", "/gateway-svc/replay?consumer=nosy-svc", admin, 405},
		{"POST", "/gateway-svc/replay?consumer=nosy-svc", admin, 200},
	} {
		m.Do(t, r.method, r.path, r.token, nil).Must(t, r.status)
	}
}

// TestDeadLettersThroughHTTP has the target of the forwarder refuse one event, which admins see by the gateway and give back.
func TestDeadLettersThroughHTTP(t *testing.T) {
	to := targettest.Start(t)
	to.Refuse(func(e targettest.Event) string {
		if e.Fields["account.slug"] == "bad-joe" && e.Name == "accounts.ACCOUNT_REGISTERED" {
			return "is not wanted"
		}
		return ""
	})
	m := meshtest.Start(t, meshtest.WithForwarder(to.URL()))
	admin := m.Admin(t)
	m.Register(t, "bad-joe")
	m.Register(t, "joe")
	arrived := func(slug string) (times int) {
		for _, e := range to.Received() {
			if e.Fields["account.slug"] == slug && e.Name == "accounts.ACCOUNT_REGISTERED" {
				times++
			}
		}
		return times
	}
	dead := func() []any {
		return m.Do(t, "GET", "/gateway-svc/dead?consumer=forwarder-svc", admin, nil).Must(t, 200).Field("dead").([]any)
	}
	await(t, func() bool { return arrived("joe") == 1 && len(dead()) == 1 })
	letter := dead()[0].(map[string]any)
	if letter["why"] != "the event is refused: event: is not wanted" || letter["topic"] != "accounts" || arrived("bad-joe") != 0 {
		t.Errorf("the dead letter is %v", letter)
	}
	to.Refuse(nil)
	again := "/gateway-svc/replay?consumer=forwarder-svc&id=" + letter["id"].(string)
	for _, want := range []float64{1, 0} {
		if n := m.Do(t, "POST", again, admin, nil).Must(t, 200).Field("replayed"); n != want {
			t.Errorf("%v are given back, not %v", n, want)
		}
	}
	m.Register(t, "last")
	await(t, func() bool { return arrived("bad-joe") == 1 && arrived("last") == 1 })
	if left := dead(); len(left) > 0 {
		t.Errorf("dead letters are %v", left)
	}
}

func await(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			t.Fatal("it is not so after 30 s")
		}
	}
}
