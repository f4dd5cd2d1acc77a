package meshtest_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"micromesh/internal/meshtest"
)

// TestRPCPortsAreReachableFromThisMachineAlone looks where the services of a mesh in one process listen: on loopback,
// where no other machine and no other network namespace reaches them.
func TestRPCPortsAreReachableFromThisMachineAlone(t *testing.T) {
	m := meshtest.Start(t)
	for _, name := range []string{"user-svc", "registry-svc", "proxy-svc"} {
		services, err := m.Host.Registry.GetService(name)
		if err != nil || len(services) == 0 || len(services[0].Nodes) == 0 {
			t.Fatalf("%s: %v, %v", name, services, err)
		}
		for _, s := range services {
			for _, n := range s.Nodes {
				if a, err := netip.ParseAddrPort(n.Address); err != nil || !a.Addr().IsLoopback() {
					t.Errorf("%s listens on %s", name, n.Address)
				}
			}
		}
	}
}

func TestAnswersEchoNoCredentials(t *testing.T) {
	m := meshtest.Start(t)
	token := m.Register(t, "joe")
	for _, path := range []string{"/user-svc/self", "/registry-svc/echo", "/user-svc/nothing"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Cookie", "session=very-secret")
		a := meshtest.Send(t, req)
		var all strings.Builder
		if err := a.Header.Write(&all); err != nil {
			t.Fatal(err)
		}
		all.Write(a.Body)
		for _, secret := range []string{token, "very-secret", "Set-Cookie"} {
			if strings.Contains(all.String(), secret) {
				t.Errorf("%s: the answer holds %.20q", path, secret)
			}
		}
	}
}
