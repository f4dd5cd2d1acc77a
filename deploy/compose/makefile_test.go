package compose_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestRebuildTakesTheNamesThatPeopleUse prints what make would run: services have a short name in docker-compose.yml.
func TestRebuildTakesTheNamesThatPeopleUse(t *testing.T) {
	for name, service := range map[string]string{"gateway": "gateway", "api-gateway": "gateway", "user": "user", "user-svc": "user", "basic": "basic"} {
		out, err := exec.CommandContext(t.Context(), "make", "-n", "-C", "../..", "docker-rebuild-"+name).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "docker compose up -d --build --no-deps "+service+"\n") {
			t.Errorf("docker-rebuild-%s: %v\n%s", name, err, out)
		}
	}
}
