package cluster_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest"
)

// TestEveryRegistrationReachesEveryGateway registers one instance after the other with two of each service, which all
// write the same buckets: none may be lost on the way, however the writers meet.
func TestEveryRegistrationReachesEveryGateway(t *testing.T) {
	c := cluster.Start(t, cluster.Config{
		Of:       map[string]map[string]string{"user": {"MICRO_ADMIN_SLUG": meshtest.AdminSlug, "MICRO_ADMIN_PASSWORD": meshtest.AdminPassword}},
		Replicas: map[string]int{"user": 2, "registry": 2, "proxy": 2, "gateway": 2},
	})
	gateways := []*meshtest.Mesh{{URL: c.Gateway(0)}, {URL: c.Gateway(1)}}
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	admin := gateways[0].Admin(t)
	const all = 150
	for i := range all {
		slug := fmt.Sprintf("seen-%d-svc", i)
		in := map[string]any{"slug": slug, "url": fmt.Sprintf("%s/%d", srv.URL, i)}
		gateways[i%2].Do(t, "PUT", "/registry-svc/instance", admin, in).Must(t, 201)
	}
	const soon = 10 * time.Second // less than what a full comparison of the buckets would mend
	for deadline := time.Now().Add(soon); ; time.Sleep(20 * time.Millisecond) {
		var missing []string
		for g, m := range gateways {
			for i := range all {
				if a := m.Do(t, "GET", fmt.Sprintf("/seen-%d-svc/", i), "", nil); a.Status != 200 {
					missing = append(missing, fmt.Sprintf("seen-%d-svc at gateway %d", i, g))
				}
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d registrations did not arrive: %v", len(missing), missing)
		}
	}
}
