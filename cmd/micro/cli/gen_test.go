package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/modfile"
)

// writeModule makes the script's folder a module of its own, which has this one's dependencies and this one among them.
func writeModule(t testing.TB, env *testscript.Env) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	env.Setenv("GOCACHE", lines[1])
	env.Setenv("GOMODCACHE", lines[2])
	env.Setenv("GOFLAGS", "-mod=mod")
	env.Setenv("GOPROXY", "off")
	content, err := os.ReadFile(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []error{
		f.AddModuleStmt("example.com/pets"), f.AddRequire("micromesh", "v0.0.0"), f.AddReplace("micromesh", "", filepath.Dir(lines[0]), ""),
	} {
		if change != nil {
			t.Fatal(change)
		}
	}
	if content, err = f.Format(); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(filepath.Dir(lines[0]), "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"go.mod": content, "go.sum": sums} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
