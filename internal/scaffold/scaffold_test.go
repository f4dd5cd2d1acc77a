package scaffold_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"micromesh"
	"micromesh/internal/protogen"
	"micromesh/internal/scaffold"
)

func TestMain(m *testing.M) {
	protogen.Plugin()
	os.Exit(m.Run())
}

// spec is a service with a name, and things with fields of all types where it keeps any.
func spec(t *testing.T, dir, name, entity string) scaffold.Spec {
	t.Helper()
	n, err := scaffold.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	s := scaffold.Spec{Name: n, Dir: dir}
	if entity != "" {
		fields := []string{"name:string", "unit_price:int32", "stock:int64", "sold:bool", "weight:double", "made_at:timestamp", "user_id:string", "order:string"}
		if s.Entity, err = scaffold.ParseEntity(entity, fields); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func write(t *testing.T, s scaffold.Spec) scaffold.Written {
	t.Helper()
	w, err := scaffold.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs a command in a folder.
func run(t *testing.T, dir string, argv ...string) {
	t.Helper()
	runWith(t, dir, "GOWORK=off", argv...)
}

func runWith(t *testing.T, dir, env string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", env)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// root is this module's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Each kind of service is vetted and formatted, and its own tests pass: they call it by RPC, on a real NATS server and on real
// databases. A workspace builds them in one go, on this module in the place of its copies: it is built already.
func TestServicesAreWhole(t *testing.T) {
	dir := t.TempDir()
	made := func(name, entity string, change func(*scaffold.Spec)) string {
		s := spec(t, dir, name, entity)
		change(&s)
		w := write(t, s)
		run(t, w.Dir, "go", "list", "-deps", "-test", "./...") // by its own go.mod and go.sum
		unformatted(t, w.Dir)
		return "./" + name
	}
	tested := []string{
		made("plain", "", func(*scaffold.Spec) {}),
		made("stateless", "", func(s *scaffold.Spec) { s.NoDB, s.Module = true, "example.com/some/where" }),
		made("told", "", func(s *scaffold.Spec) { s.Events = true }),
		made("shop-cart", "OrderLine", func(s *scaffold.Spec) { s.Events = true }),
		made("web", "", func(s *scaffold.Spec) { s.HTTP = scaffold.Go }),
	}
	vetted := append(slices.Clone(tested),
		made("stock", "Item", func(*scaffold.Spec) {}),
		made("few", "", func(s *scaffold.Spec) {
			s.Events = true
			s.Entity, _ = scaffold.ParseEntity("Box", []string{"size:int32"})
		}))
	work := "GOWORK=" + filepath.Join(dir, "go.work")
	runWith(t, dir, work, append([]string{"go", "work", "init"}, vetted...)...)
	runWith(t, dir, work, "go", "work", "edit", "-replace=micromesh="+root(t))
	runWith(t, dir, work, append([]string{"go", "vet"}, packages(vetted)...)...)
	runWith(t, dir, work, append([]string{"go", "test"}, packages(tested)...)...)
}

func packages(dirs []string) []string {
	var all []string
	for _, d := range dirs {
		all = append(all, d+"/...")
	}
	return all
}

func unformatted(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "gofmt", "-l", dir).Output()
	if err != nil || len(out) > 0 {
		t.Errorf("not formatted, %v: %s", err, out)
	}
}

func TestServicesInOtherLanguagesAreWhole(t *testing.T) {
	dir := t.TempDir()
	for language, argv := range map[string][]string{scaffold.Python: {"python3", "-m", "unittest"}, scaffold.Node: {"node", "--test"}} {
		s := spec(t, dir, "web-"+language, "")
		s.HTTP = language
		w := write(t, s)
		if slices.Contains(w.Files, "go.mod") {
			t.Errorf("%s has a go.mod", language)
		}
		run(t, w.Dir, argv...)
	}
}

// repository is a copy of this one.
func repository(t *testing.T) string {
	t.Helper()
	from, to := root(t), t.TempDir()
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && rel != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"node_modules", "data", "bench"}, d.Name())):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// In the repository it is one of the services: what checks those checks it.
func TestServicesComeIntoTheRepository(t *testing.T) {
	dir := repository(t)
	s := spec(t, dir, "account", "Widget")
	s.Events = true
	w := write(t, s)
	for _, want := range []string{"account/main.go", "account/proto/fakes/account_service.go", "proto/account/v1/account.proto", "pkg/events/proto/account/events.pb.go", "docker-compose.yml", "deploy/Dockerfile", "deploy/compose/ha.yml"} {
		if !slices.Contains(w.Files, want) {
			t.Errorf("%s was not written: %v", want, w.Files)
		}
	}
	for _, language := range []string{scaffold.Go, scaffold.Python, scaffold.Node} {
		web := spec(t, dir, "web-"+language, "")
		web.HTTP = language
		write(t, web)
	}
	unformatted(t, filepath.Join(dir, "account"))
	if _, err := protogen.Run(t.Context(), protogen.Config{Dir: dir, Module: "micromesh", Roots: []string{"proto", "pkg/events/proto"}, Check: true}); err != nil {
		t.Errorf("the generated code is not what `make generate` makes: %v", err)
	}
	run(t, dir, "go", "test", "./internal/arch")
	// What it is built with is built already, where the copy was made of.
	o, test := overlay(t, dir, "account", "pkg/events/proto/account", "web-go"), filepath.Join(t.TempDir(), "app.test")
	run(t, root(t), "go", "build", "-overlay", o, "./account/...", "./web-go/...")
	run(t, root(t), "go", "test", "-c", "-vet=off", "-overlay", o, "-o", test, "./account/app")
	run(t, filepath.Join(dir, "account", "app"), test)
	for file, wants := range map[string][]string{
		"docker-compose.yml":    {"--service, account-svc]", "account-secrets:/secrets/account-svc", ",account:9000\n", "\n  account:\n    <<: *service\n", "\n  web-node:\n", "\n  account-secrets:\n"},
		"deploy/compose/ha.yml": {"--service, account-svc]", ",account:9000\n"},
		"deploy/Dockerfile":     {" ./account ./web-go\n", " secrets/account-svc\n", " AS account\n", " AS web-python\n", " AS web-node\n"},
	} {
		for _, want := range wants {
			if text := read(t, dir, file); !strings.Contains(text, want) {
				t.Errorf("%s doesn't say %q", file, want)
			}
		}
	}
}

// overlay lets Go build this module with folders of a copy, and gives the file that says so.
func overlay(t *testing.T, from string, folders ...string) string {
	t.Helper()
	replace := map[string]string{}
	for _, f := range folders {
		for name, text := range content(t, filepath.Join(from, f)) {
			if text != "" {
				replace[filepath.Join(root(t), f, name)] = filepath.Join(from, f, name)
			}
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// content gives all files below a folder, and its folders as empty texts.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		all[rel] = ""
		if !d.IsDir() {
			all[rel] = read(t, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// unchanged fails where a folder is another than it was.
func unchanged(t *testing.T, dir string, before map[string]string) {
	t.Helper()
	after := content(t, dir)
	for name := range after {
		if old, ok := before[name]; !ok || old != after[name] {
			t.Errorf("%s is new, or has changed", name)
		}
	}
	if len(after) < len(before) {
		t.Errorf("of %d files and folders %d are there", len(before), len(after))
	}
}

func TestWhatIsThereIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "account"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := content(t, dir)
	if _, err := scaffold.New(t.Context(), spec(t, dir, "account", "")); err == nil || !strings.Contains(err.Error(), "account is there already") {
		t.Errorf("a folder that is there: %v", err)
	}
	unchanged(t, dir, before)
}

func TestHalfOfAServiceIsTold(t *testing.T) {
	dir := minimal(t)
	if err := os.MkdirAll(filepath.Join(dir, "proto", "account"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := content(t, dir)
	_, err := scaffold.New(t.Context(), spec(t, dir, "account", ""))
	if err == nil || !strings.Contains(err.Error(), "proto/account is there already, and account is not") {
		t.Errorf("half of a service: %v", err)
	}
	unchanged(t, dir, before)
}

// minimal is a repository that holds only what a service is added to.
func minimal(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"docker-compose.yml", "deploy/compose/ha.yml", "deploy/Dockerfile", "go.mod"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(read(t, root(t), name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFilesThatAreNotKnownAreNotChanged(t *testing.T) {
	for name, c := range map[string]struct{ file, from, to, says string }{
		"no command of init":  {"docker-compose.yml", "[secrets, init", "[secrets, start", "command of init"},
		"no networks":         {"docker-compose.yml", "\nnetworks:\n", "\nx-networks:\n", "section networks"},
		"a service like it":   {"docker-compose.yml", "\n  basic:\n", "\n  account:\n", "has a service account already"},
		"no YAML":             {"docker-compose.yml", "\nservices:\n", "\nservices: {\n", "read it"},
		"no list of packages": {"deploy/Dockerfile", "    ./user ", "    ./all ", "list of packages"},
		"no addresses":        {"deploy/compose/ha.yml", "MICRO_RESERVED_ADDRESSES", "OTHERS", "MICRO_RESERVED_ADDRESSES"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := minimal(t)
			file := filepath.Join(dir, c.file)
			text := read(t, file)
			if !strings.Contains(text, c.from) {
				t.Fatalf("%s has no %q", c.file, c.from)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(text, c.from, c.to, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			before := content(t, dir)
			_, err := scaffold.New(t.Context(), spec(t, dir, "account", ""))
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.file) {
				t.Errorf("%v, want what says %q", err, c.says)
			}
			unchanged(t, dir, before)
		})
	}
}

func TestInTheRepositoryItComesIntoTheRoot(t *testing.T) {
	dir := minimal(t)
	if _, err := scaffold.New(t.Context(), spec(t, filepath.Join(dir, "deploy"), "account", "")); err == nil || !strings.Contains(err.Error(), "come into its root") {
		t.Errorf("below the root: %v", err)
	}
	s := spec(t, dir, "account", "")
	s.Module = "example.com/account"
	if _, err := scaffold.New(t.Context(), s); err == nil || !strings.Contains(err.Error(), "leave out --module") {
		t.Errorf("a module in the repository: %v", err)
	}
}

// An interrupt in the midst of it leaves everything as it was.
func TestInterruptsLeaveNothingBehind(t *testing.T) {
	for name, c := range map[string]struct {
		dir   string
		begun string // is there once the writing has begun
	}{
		"a module":       {t.TempDir(), ".account.new-*/go.mod"},
		"the repository": {repository(t), "proto/account/v1/account.proto"},
	} {
		t.Run(name, func(t *testing.T) {
			before := content(t, c.dir)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for ctx.Err() == nil {
					if found, _ := filepath.Glob(filepath.Join(c.dir, c.begun)); len(found) > 0 {
						cancel()
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
			if _, err := scaffold.New(ctx, spec(t, c.dir, "account", "Widget")); err == nil {
				t.Error("it was written all the same")
			}
			unchanged(t, c.dir, before)
		})
	}
}

// The sources beside a service are those of the repository, and nothing that only tests need.
func TestSourcesHoldNoTests(t *testing.T) {
	all, err := micromesh.Sources()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range all {
		if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "testdata") {
			t.Errorf("%s is among them", name)
		}
		if !bytes.Equal(b, []byte(read(t, root(t), name))) {
			t.Errorf("%s is not what it is in the repository", name)
		}
	}
	for _, want := range []string{"go.mod", "go.sum", "LICENSE", "pkg/process/process.go", "pkg/sqldb/outbox/0001_outbox.sql", "sdk/go/service.go", "proto/mesh/v1/options.proto", "user/proto/user.pb.go"} {
		if all[want] == nil {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestSameSpecSameFiles(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		s := spec(t, dir, "account", "Widget")
		s.Events = true
		write(t, s)
	}
	if diff := cmp.Diff(content(t, one), content(t, two)); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
}
