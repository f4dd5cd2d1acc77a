package cluster_test

import (
	"encoding/json"
	"testing"
	"time"

	"micromesh/internal/cluster"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// TestInstancesKnowTheirCallersWhileTheUserServiceIsAway stops the user service. The gateway has a token for the
// instance's audience of one caller, and none of the other.
func TestInstancesKnowTheirCallersWhileTheUserServiceIsAway(t *testing.T) {
	c := cluster.Start(t, cluster.Config{Of: map[string]map[string]string{
		"user":    {"MICRO_ADMIN_SLUG": meshtest.AdminSlug, "MICRO_ADMIN_PASSWORD": meshtest.AdminPassword},
		"gateway": {"MICRO_CALLER_TOKEN": "audience"},
	}})
	m := &meshtest.Mesh{URL: c.Gateway(0)}
	m.Do(t, "PUT", "/registry-svc/instance", m.Register(t, "shop-svc"), map[string]string{"url": upstream.Start(t).URL}).Must(t, 201)
	joe, ann := m.Register(t, "joe"), m.Register(t, "ann")
	saw := func(token string) (s upstream.Seen) {
		t.Helper()
		if err := json.Unmarshal(m.Do(t, "GET", "/shop-svc/", token, nil).Must(t, 200).Body, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := saw(joe)
	if before.Header.Get("Authorization") == "" || before.Header.Get("Authorization") == "Bearer "+joe {
		t.Fatalf("before: %v", before.Header)
	}
	for _, p := range c.Services["user"] {
		p.Stop()
	}
	if got := saw(joe); got.Header.Get("Authorization") != before.Header.Get("Authorization") {
		t.Errorf("the token that the gateway has is not sent: %v", got.Header)
	}
	began := time.Now()
	for range 3 {
		if got := saw(ann); got.Header.Get("Authorization") != "" || got.Header.Get("X-User-Slug") != "ann" {
			t.Errorf("without a token: %v", got.Header)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("three requests waited %v for a service that is away", took)
	}
}
