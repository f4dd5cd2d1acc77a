package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/pkg/atomicfile"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCreateNeverReplaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch err := atomicfile.Create(file, []byte("first")); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || read(t, file) != "first" {
		t.Errorf("made %d times", made.Load())
	}
	if err := atomicfile.Create(file, []byte("second")); !errors.Is(err, fs.ErrExist) || read(t, file) != "first" {
		t.Errorf("got %v and %q", err, read(t, file))
	}
}

func TestReplaceLeavesNothingBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "state.json")
	for _, s := range []string{"one", "two"} {
		if err := atomicfile.Replace(file, []byte(s)); err != nil || read(t, file) != s {
			t.Fatalf("%v, %q", err, read(t, file))
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", fi.Mode(), err)
	}
	if err := atomicfile.Replace(filepath.Join(dir, "missing", "x"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a folder that is not there: %v", err)
	}
}
