package deploy_test

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuildIsReproducible builds a service as the Dockerfile does, in two folders: the bytes are the same.
func TestBuildIsReproducible(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if and .Module .Module.Main}}{{.Dir}}{{end}}", "./proxy")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "some", "where", "else")
	for _, dir := range append(strings.Fields(string(out)), root) {
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			t.Fatal(err)
		}
		copyFiles(t, dir, filepath.Join(elsewhere, rel))
	}
	sums := map[[sha256.Size]byte]string{}
	for _, dir := range []string{root, elsewhere} {
		file := filepath.Join(t.TempDir(), "proxy")
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", file, "./proxy")
		build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sums[sha256.Sum256(b)] = dir
	}
	if len(sums) != 1 {
		t.Errorf("two builds differ: %v", sums)
	}
}

// copyFiles copies the files of a folder that a build may need, and those of folders in it that hold SQL, which is embedded.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if sql, _ := filepath.Glob(filepath.Join(from, e.Name(), "*.sql")); len(sql) > 0 {
				copyFiles(t, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
			}
			continue
		}
		if !strings.HasSuffix(e.Name(), ".go") && !strings.HasPrefix(e.Name(), "go.") && !strings.HasSuffix(e.Name(), ".sql") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
