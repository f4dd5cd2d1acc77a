package app_test

import (
	"bytes"
	"strings"
	"testing"

	"micromesh/forwarder/app"
	"micromesh/pkg/process"
)

// run runs the forwarder's command line with settings that are wrong.
func run(t *testing.T, environ map[string]string) (code int, says string) {
	t.Helper()
	var out, wrong bytes.Buffer
	environ["MICRO_SECRET_KEY"] = strings.Repeat("A", 43) + "="
	code = process.Run(t.Context(), app.Service(), []string{"forwarder"}, environ, &out, &wrong)
	return code, wrong.String()
}

func TestAllWrongSettingsAreToldAtOnce(t *testing.T) {
	for _, r := range []struct {
		name    string
		environ map[string]string
		want    []string
	}{
		{"nothing", map[string]string{}, []string{"MICRO_FORWARD_TARGET is not set"}},
		{"mixpanel", map[string]string{"MICRO_FORWARD_TARGET": "mixpanel", "MICRO_FORWARD_SINGLE": "true", "MICRO_FORWARD_URL": "https://x.example.com?y", "MICRO_FORWARD_BATCH": "2001"}, []string{
			"MICRO_FORWARD_USER, MICRO_FORWARD_SECRET and MICRO_FORWARD_PROJECT must be set", "MICRO_FORWARD_SINGLE", "MICRO_FORWARD_URL must be a base URL", "MICRO_FORWARD_BATCH is 2001",
		}},
		{"half a login", map[string]string{"MICRO_FORWARD_TARGET": "mixpanel", "MICRO_FORWARD_USER": "me"}, []string{"must be set all, or none"}},
		{"two logins", map[string]string{"MICRO_FORWARD_TARGET": "mixpanel", "MICRO_FORWARD_USER": "me", "MICRO_FORWARD_TOKEN": "hidden"}, []string{"MICRO_FORWARD_TOKEN must not be set"}},
		{"cloudevents", map[string]string{"MICRO_FORWARD_TARGET": "cloudevents", "MICRO_FORWARD_PROJECT": "7", "MICRO_FORWARD_TOPICS": "a,b.c", "MICRO_FORWARD_WAIT": "0s"}, []string{
			"MICRO_FORWARD_URL is not set", "MICRO_FORWARD_PROJECT", `MICRO_FORWARD_TOPICS holds "b.c"`, "MICRO_FORWARD_WAIT is 0s",
		}},
		{"a login in the URL", map[string]string{"MICRO_FORWARD_TARGET": "cloudevents", "MICRO_FORWARD_URL": "https://me:hidden@x.example.com"}, []string{"without a login"}},
		{"numbers", map[string]string{"MICRO_FORWARD_TARGET": "other", "MICRO_FORWARD_BATCH": "many", "MICRO_FORWARD_TIMEOUT": "1h", "MICRO_FORWARD_MAX_RETRY": "0s"}, []string{
			`MICRO_FORWARD_TARGET is "other"`, `MICRO_FORWARD_BATCH is "many"`, "MICRO_FORWARD_TIMEOUT is 1h", "MICRO_FORWARD_MAX_RETRY is 0s",
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			code, says := run(t, r.environ)
			if code != 2 || strings.Contains(says, "hidden") {
				t.Errorf("exit code %d, says %s", code, says)
			}
			for _, w := range r.want {
				if !strings.Contains(says, w) {
					t.Errorf("it doesn't say %q:\n%s", w, says)
				}
			}
			if n := strings.Count(strings.TrimSpace(says), "\n") + 1; n != len(r.want) {
				t.Errorf("it says %d lines, not %d:\n%s", n, len(r.want), says)
			}
		})
	}
}
