package meshtest_test

import (
	"strings"
	"testing"

	"micromesh/internal/meshtest"
)

// TestDuplicatesAreRefusedEverywhere sends members and parameters of one name to calls of all kinds.
func TestDuplicatesAreRefusedEverywhere(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t)
	admin := m.Admin(t)
	for _, row := range []struct{ method, path, body, field string }{
		{"POST", "/user-svc/login", `{"slug":"a","slug":"a"}`, "slug"},
		{"POST", "/user-svc/login", `{"appHost":"a","app_host":"b"}`, "appHost"},
		{"PUT", "/user-svc/permits", `{"permits":[{},{"slugs":[],"slugs":[]}]}`, "permits[1].slugs"},
		{"PUT", "/registry-svc/instance", `{"metadata":{"a":"1","a":"2"}}`, `metadata["a"]`},
		{"PUT", "/user-svc/organization/o/user/u", `{"x":1,"x":2}`, "x"},
		{"POST", "/registry-svc/echo", `{"a":{"b":1,"b":2}}`, "a.b"},
		{"GET", "/registry-svc/echo?a=1&a=1", "", "a"},
		{"GET", "/registry-svc/instances?slug=a&slug=b", "", "slug"},
		{"GET", "/registry-svc/instances?deploymentId=a&deployment_id=b", "", "deploymentId"},
		{"GET", "/gateway-svc/dead?consumer=a-svc&consumer=b-svc", "", "consumer"},
		{"POST", "/gateway-svc/replay?consumer=a-svc&consumer=a-svc", "", "consumer"},
		{"GET", "/gateway-svc/events?since=1m&since=2m", "", "since"},
	} {
		var body any
		if row.body != "" {
			body = row.body
		}
		a := m.Do(t, row.method, row.path, admin, body)
		list, _ := a.Field("details").([]any)
		if a.Status != 400 || len(list) != 1 || list[0].(map[string]any)["field"] != row.field || !strings.HasPrefix(a.Text("error"), row.field+" ") {
			t.Errorf("%s %s %s: %d %s, want 400 for %s", row.method, row.path, row.body, a.Status, a.Body, row.field)
		}
	}
}
