package meshtest_test

import (
	"testing"

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
