// Package arch_test checks the import rules of ARCHITECTURE.md: what each folder may import of this module, and what
// the domain may import of the standard library.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "micromesh"

// services are the folders of the module's root that hold a service: those with a domain.
func services(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("..", "..", "*", "service"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, dir := range found {
		all = append(all, filepath.Base(filepath.Dir(dir)))
	}
	for _, own := range []string{"user", "registry", "proxy", "gateway"} {
		if !slices.Contains(all, own) {
			t.Fatalf("%s is not among the services %v: they are not where this test looks", own, all)
		}
	}
	return all
}

// rule says what a folder of a service may import of the module: prefixes, with {svc} for the service's own folder.
var rules = map[string][]string{
	"app":        {"{svc}/", "pkg/", "sdk/", "*/proto"}, // the gateway's app links the services' descriptors
	"service":    {"pkg/errs", "pkg/ident", "pkg/routing"},
	"store":      {"{svc}/service", "pkg/sqldb"},
	"handler":    {"{svc}/service", "*/proto", "pkg/", "sdk/"},
	"subscriber": {"{svc}/service", "pkg/events", "pkg/sqldb"},
	"proto":      {"pkg/meshpb", "pkg/schema/source", "{svc}/proto"}, // fakes lie beside what they stand for
}

// extra are folders that one service has beside those, and what each may import.
var extra = map[string][]string{
	"gateway/app":          {"internal/settled"},
	"gateway/http1":        {"gateway/http1"},
	"gateway/transcode":    {"pkg/", "*/proto", "internal/paths"},
	"gateway/handler":      {"gateway/http1", "gateway/transcode", "gateway/routes"},
	"gateway/routes":       {"gateway/routes", "internal/paths", "pkg/netpolicy"},
	"gateway/schemas":      {"gateway/transcode", "pkg/"},
	"gateway/store":        {"pkg/atomicfile"},
	"registry/health":      {"registry/service", "pkg/"},
	"registry/node":        {"registry/service", "pkg/"},
	"registry/stock":       {"pkg/"},
	"forwarder/target":     {"forwarder/service"},
	"user/proto/fakes":     {"user/proto"},
	"proxy/proto/fakes":    {"proxy/proto"},
	"registry/proto/fakes": {"registry/proto"},
}

// unfit are packages of the standard library that a domain does without: it has ports for what they do.
var unfit = []string{"net/http", "database/sql", "os"}

type file struct {
	path    string // in the module
	imports []string
}

func TestServicesImportOnlyWhatTheyMay(t *testing.T) {
	checked := 0
	services := services(t)
	for _, f := range sources(t) {
		svc, rest, _ := strings.Cut(f.path, "/")
		if !slices.Contains(services, svc) || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		folder, _, nested := strings.Cut(rest, "/")
		if !nested {
			folder = "app" // main.go
		}
		checked++
		for _, imp := range f.imports {
			own, ok := strings.CutPrefix(imp, module+"/")
			if ok && !allowed(f.path, svc, folder, own) {
				t.Errorf("%s imports %s, which %s/ may not", f.path, own, folder)
			}
			if folder == "service" && slices.Contains(unfit, imp) {
				t.Errorf("%s imports %s: the domain declares a port instead", f.path, imp)
			}
		}
	}
	if checked < 50 {
		t.Fatalf("only %d files were checked: the services are not where this test looks", checked)
	}
}

func allowed(file, svc, folder, imp string) bool {
	dir := path.Dir(file)
	if imp == dir {
		return true
	}
	may := slices.Clone(rules[folder])
	for d, more := range extra {
		if dir == d || strings.HasPrefix(dir, d+"/") {
			may = append(may, more...)
		}
	}
	for _, m := range may {
		m = strings.ReplaceAll(m, "{svc}", svc)
		if p, ok := strings.CutPrefix(m, "*/"); ok {
			if _, rest, cut := strings.Cut(imp, "/"); cut && rest == p {
				return true
			}
			continue
		}
		if imp == m || strings.HasPrefix(imp, strings.TrimSuffix(m, "/")+"/") {
			return true
		}
	}
	// Suites and test servers are for tests alone, and are part of what they test.
	return strings.HasSuffix(dir, "test") && strings.HasPrefix(imp, svc+"/")
}

func TestLeafLibrariesImportNoService(t *testing.T) {
	for _, f := range sources(t) {
		if !strings.HasPrefix(f.path, "pkg/") && !strings.HasPrefix(f.path, "sdk/") {
			continue
		}
		for _, imp := range f.imports {
			own, ok := strings.CutPrefix(imp, module+"/")
			if !ok || strings.HasPrefix(own, "pkg/") || strings.HasPrefix(own, "sdk/") {
				continue
			}
			if strings.HasSuffix(f.path, "_test.go") && (strings.HasPrefix(own, "internal/") || strings.Contains(own, "/proto")) {
				continue // tests run a mesh, or speak a service's contract
			}
			t.Errorf("%s imports %s: leaf libraries import no service", f.path, own)
		}
	}
}

// What an example imports is what any author of a service may: the SDK, and the two packages that its API is made of.
func TestExamplesUseWhatAuthorsHave(t *testing.T) {
	for _, f := range sources(t) {
		if !strings.HasPrefix(f.path, "examples/") || strings.HasSuffix(f.path, "_test.go") {
			continue
		}
		for _, imp := range f.imports {
			own, ok := strings.CutPrefix(imp, module+"/")
			if ok && !slices.Contains([]string{"pkg/errs", "pkg/auth"}, own) && !strings.HasPrefix(own, "sdk/") && !strings.HasPrefix(own, "examples/") {
				t.Errorf("%s imports %s: examples import the SDK", f.path, own)
			}
		}
	}
}

func TestFakesAreForTests(t *testing.T) {
	for _, f := range sources(t) {
		for _, imp := range f.imports {
			if strings.HasSuffix(imp, "/fakes") && !strings.HasSuffix(f.path, "_test.go") {
				t.Errorf("%s imports %s outside a test", f.path, imp)
			}
		}
	}
}

// sources are the Go files of the module.
func sources(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var out []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		src := file{path: filepath.ToSlash(rel)}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			src.imports = append(src.imports, name)
		}
		out = append(out, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal("the module's root is not where this test looks")
	}
	return out
}

// TestProgramsVerifyTLS looks at each program that has go-micro in it: go-micro verifies no certificates unless it is told to.
func TestProgramsVerifyTLS(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}} {{join .Deps " "}}{{end}}`, "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for line := range strings.Lines(string(out)) {
		deps := strings.Fields(line)
		program := strings.TrimPrefix(deps[0], module+"/")
		stock := strings.HasPrefix(program, "examples/shop/") || program == "bench/rpc" // as somebody else wrote them; beside plain go-micro
		if stock || !slices.Contains(deps, "go-micro.dev/v5/broker") {
			continue
		}
		checked++
		if !slices.Contains(deps, module+"/pkg/rpc/securetls") {
			t.Errorf("%s has go-micro, and doesn't import pkg/rpc/securetls", program)
		}
	}
	if checked < 6 {
		t.Errorf("only %d programs were checked", checked)
	}
}
