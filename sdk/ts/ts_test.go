// Package ts_test builds the TypeScript SDK and runs it against a whole mesh. Node's own tests in test/ do the asking.
package ts_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"micromesh/internal/meshtest"
)

var update = flag.Bool("update", false, "write api.json and src/api.ts anew")

func TestMain(m *testing.M) { meshtest.Main(m) }

// tool runs one of Node's tools in this folder, with settings, and gives what it printed.
func tool(t *testing.T, env []string, argv ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return out
}

// same fails unless a file is as it should be; with -update it makes it so.
func same(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, want) {
		t.Fatalf("%s is not what the mesh's API says: run `go test ./sdk/ts -update` (%v)", file, err)
	}
}

func TestTypeScript(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no npm: .ci/run installs it")
		}
		t.Skip("there is no npm: the TypeScript SDK is left out")
	}
	m := meshtest.Start(t)
	tool(t, nil, "npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts")
	same(t, "api.json", append(m.Do(t, "GET", "/openapi.json", "", nil).Must(t, 200).Body, '\n'))
	types := filepath.Join(t.TempDir(), "api.ts")
	tool(t, nil, "npx", "openapi-typescript", "api.json", "--output", types)
	made, err := os.ReadFile(types)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "src/api.ts", made)
	tool(t, nil, "npm", "run", "build")
	tool(t, nil, "npx", "tsc", "-p", "test")
	out := tool(t, []string{"MICRO_SERVER=" + m.URL, "ADMIN_SLUG=" + meshtest.AdminSlug, "ADMIN_PASSWORD=" + meshtest.AdminPassword, "TMPDIR=" + t.TempDir()}, "node", "--test", "test/")
	t.Logf("%s", out)
}
