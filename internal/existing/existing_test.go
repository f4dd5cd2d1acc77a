// Package existing_test runs clients of the HTTP API that others have generated, unchanged, against a whole mesh.
package existing_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

func TestMain(m *testing.M) { meshtest.Main(m) }

func run(t *testing.T, env []string, argv ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return out
}

// TestGeneratedClientOfJavaScript makes every call of the npm package @1backend/client that the contract has.
func TestGeneratedClientOfJavaScript(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no npm: .ci/run installs it")
		}
		t.Skip("there is no npm: the client is left out")
	}
	m := meshtest.Start(t)
	run(t, nil, "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	web := upstream.Start(t)
	settings, err := json.Marshal(map[string]string{
		"server": m.URL, "slug": meshtest.AdminSlug, "password": meshtest.AdminPassword, "instance": web.URL, "cert": meshtest.HostPEM(t, "shop.example.com"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", run(t, []string{"SETTINGS=" + string(settings)}, "node", "--test", "client.test.mjs"))
}
