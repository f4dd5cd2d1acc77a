package settled_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"micromesh/internal/settled"
)

const wait = 5 * time.Second

// editor changes a file and looks at it, by a clock of its own.
type editor struct {
	t    *testing.T
	path string
	file *settled.File
	now  time.Time
}

func edit(t *testing.T, path string) *editor {
	t.Helper()
	e := &editor{t: t, path: path, now: time.Unix(0, 0)}
	file, content, err := settled.Open(path, wait, 100)
	if err != nil || string(content) != "old" {
		t.Fatalf("%q %v", content, err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	e.file = file
	return e
}

// start writes "old" to a file, and follows it.
func start(t *testing.T) *editor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "routes.yaml")
	put(t, path, "old")
	return edit(t, path)
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// looks looks after a time, and expects a content; empty is nothing new.
func (e *editor) looks(after time.Duration, want string) {
	e.t.Helper()
	e.now = e.now.Add(after)
	got, err := e.file.Look(e.now, false)
	if err != nil || string(got) != want {
		e.t.Fatalf("a look %v later returns %q, %v; want %q", after, got, err, want)
	}
}

// settles expects that a change is returned when it has settled, not before.
func (e *editor) settles(want string) {
	e.t.Helper()
	e.looks(time.Second, "")
	e.looks(wait-time.Millisecond, "")
	if !e.file.Pending() {
		e.t.Error("nothing is pending")
	}
	e.looks(time.Millisecond, want)
	e.looks(wait, "")
	if e.file.Pending() {
		e.t.Error("something is pending")
	}
}

func (e *editor) shell(script string) {
	e.t.Helper()
	cmd := exec.CommandContext(e.t.Context(), "sh", "-ec", script)
	cmd.Dir = filepath.Dir(e.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// TestRenamesAreReturnedAtTheNextLook replaces a file as programs do that write another one first.
func TestRenamesAreReturnedAtTheNextLook(t *testing.T) {
	linux(t)
	for name, script := range map[string]string{
		"mv":                             "printf new > x; mv x routes.yaml",
		"sed -i":                         "sed -i s/old/new/ routes.yaml",
		"rename of a file that is old":   "printf new > x; touch -d '2001-01-01' x; mv x routes.yaml",
		"rename with the times of old":   "printf new > x; touch -r routes.yaml x; mv x routes.yaml",
		"rename after a change in place": "printf half > routes.yaml; printf new > x; mv x routes.yaml",
		"away, changed, and back":        "mv routes.yaml x; printf new > x; mv x routes.yaml",
		"exchange of two":                "printf new > x; mv routes.yaml y; mv x routes.yaml",
		"ln -f":                          "printf new > x; ln -f x routes.yaml", // which renames, too
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			e.looks(time.Second, "")
			e.shell(script)
			e.looks(time.Second, "new")
			e.looks(wait, "")
		})
	}
}

// TestChangesInPlaceSettle changes a file as programs do that write to it directly, or to a new file under its name.
func TestChangesInPlaceSettle(t *testing.T) {
	for name, script := range map[string]string{
		"truncated and written":          "printf new > routes.yaml",
		"cp over it":                     "printf new > x; cp x routes.yaml",
		"cp with times and mode":         "printf new > x; cp -p x routes.yaml",
		"written with the times of old":  "touch -r routes.yaml x; printf new > routes.yaml; touch -r x routes.yaml",
		"removed and written":            "rm routes.yaml; printf new > routes.yaml",
		"moved to a backup, and written": "mv routes.yaml routes.yaml~; printf new > routes.yaml; rm routes.yaml~",
		"a byte in the middle":           "printf new | dd of=routes.yaml conv=notrunc status=none",
		"renamed, then written":          "printf half > x; mv x routes.yaml; printf new > routes.yaml",
		"appended to a rename":           "printf n > x; mv x routes.yaml; printf ew >> routes.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t)
			e.looks(time.Second, "")
			e.shell(script)
			e.settles("new")
		})
	}
}

// TestEachWriteBeginsTheWaitAgain appends to a file in pieces.
func TestEachWriteBeginsTheWaitAgain(t *testing.T) {
	for name, first := range map[string]string{"in place": "printf a > routes.yaml", "in a new file": "rm routes.yaml; printf a > routes.yaml"} {
		t.Run(name, func(t *testing.T) {
			e := start(t)
			e.shell(first)
			want := "a"
			for i := range 5 {
				e.looks(wait-time.Second, "")
				e.shell(fmt.Sprintf("printf %d >> routes.yaml", i))
				want += fmt.Sprint(i)
			}
			e.settles(want)
		})
	}
}

func TestForceTakesWhatIsThere(t *testing.T) {
	e := start(t)
	put(t, e.path, "half")
	if got, err := e.file.Look(e.now, true); string(got) != "half" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if got, err := e.file.Look(e.now, true); got != nil || err != nil {
		t.Errorf("again: %q %v", got, err)
	}
	put(t, e.path, "whole")
	e.settles("whole")
}

func TestWhatIsTakenBackIsNoChange(t *testing.T) {
	e := start(t)
	put(t, e.path, "new")
	e.looks(time.Second, "")
	put(t, e.path, "old")
	e.looks(time.Second, "")
	e.looks(wait, "")
	put(t, e.path, "new")
	e.settles("new")
}

func TestFileThatDisappearsIsAnErrorUntilItIsBack(t *testing.T) {
	linux(t)
	e := start(t)
	gone := func() {
		t.Helper()
		e.now = e.now.Add(wait)
		if got, err := e.file.Look(e.now, false); err == nil || got != nil {
			t.Fatalf("%q %v", got, err)
		}
	}
	must(t, os.Rename(e.path, e.path+".x"))
	gone()
	gone()
	must(t, os.Rename(e.path+".x", e.path))
	e.looks(time.Second, "")
	must(t, os.Remove(e.path))
	gone()
	put(t, e.path, "new")
	e.settles("new")
	must(t, os.Remove(e.path))
	gone()
	put(t, e.path+".x", "newer")
	must(t, os.Rename(e.path+".x", e.path))
	e.looks(time.Second, "newer")
	put(t, e.path, strings.Repeat("x", 101))
	gone()
}

// TestLinksThatAreReplaced swaps links as Kubernetes does for a config map, and changes their targets.
func TestLinksThatAreReplaced(t *testing.T) {
	linux(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"1": "old", "2": "new", "3": "three"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		put(t, filepath.Join(dir, name, "routes.yaml"), content)
	}
	must(t, os.Symlink("1", filepath.Join(dir, "..data")))
	path := filepath.Join(dir, "routes.yaml")
	must(t, os.Symlink("..data/routes.yaml", path))
	e := edit(t, path)
	e.looks(time.Second, "")
	e.shell("ln -s 2 tmp; mv -T tmp ..data")
	e.looks(time.Second, "new")
	e.shell("ln -sfn 3/routes.yaml routes.yaml")
	e.looks(time.Second, "three")
	e.shell("printf four > 3/x; mv 3/x 3/routes.yaml") // in the folder of the target
	e.looks(time.Second, "four")
	e.shell("printf five > 3/routes.yaml")
	e.settles("five")
	e.shell("mkdir new; printf six > new/routes.yaml; mv 3 gone; mv new 3") // a folder is replaced: nothing says that the file is whole
	e.now = e.now.Add(time.Second)
	got, err := e.file.Look(e.now, false)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "six" {
		e.looks(wait, "six")
	}
	e.shell("printf 7 > 3/x; mv 3/x 3/routes.yaml")
	e.looks(time.Second, "7")
}

// linux leaves a test out where renames are not detected.
func linux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("renames are detected on Linux alone")
	}
}
