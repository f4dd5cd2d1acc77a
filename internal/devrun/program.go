package devrun

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"micromesh/internal/protogen"
)

// Program is a service as its author wrote it.
type Program struct {
	Dir  string // absolute
	Name string // of its folder
	RPC  bool   // whether it is a process of the mesh, and so connects to NATS

	script []string // its command line, where it is a script
	module string   // folder of its Go module, where it is in Go
	path   string   // of that module
}

// scripts are the main files of services that need no build, with what runs them.
var scripts = map[string]string{"main.py": "python3", "main.mjs": "node"}

// processes is the package that services with RPC run by.
const processes = `"micromesh/pkg/process"`

// Find finds the service in a folder.
func Find(dir string) (*Program, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the service: %w", err)
	}
	p := &Program{Dir: dir, Name: filepath.Base(dir)}
	for name, with := range scripts {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			p.script = []string{with, filepath.Join(dir, name)}
			return p, nil
		}
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, "main.go"), nil, parser.ImportsOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no service in %s: it must hold main.go, main.py or main.mjs", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("read the service: %w", err)
	}
	for _, i := range f.Imports {
		p.RPC = p.RPC || i.Path.Value == processes
	}
	for at := dir; ; at = filepath.Dir(at) {
		b, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil {
			p.module, p.path = at, modfile.ModulePath(b)
			return p, nil
		}
		if at == filepath.Dir(at) {
			return nil, fmt.Errorf("%s is in no Go module: there is no go.mod in it, or above", dir)
		}
	}
}

// build builds the program where it is in Go, and gives its command line.
func (p *Program) build(ctx context.Context, state string) ([]string, error) {
	if p.script != nil {
		return p.script, nil
	}
	binary := filepath.Join(state, "bin", p.Name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, ".") //nolint:gosec // its name is that of the service's folder
	cmd.Dir = p.Dir
	if out, err := cmd.CombinedOutput(); err != nil { // then the binary is what it was
		return nil, fmt.Errorf("build %s: %w\n%s", p.Name, err, strings.TrimSpace(string(out)))
	}
	return []string{binary}, nil
}

// generate makes the module's generated code anew.
func (p *Program) generate(ctx context.Context) ([]string, error) {
	written, err := protogen.Run(ctx, protogen.Config{Dir: p.module, Module: p.path})
	if err != nil {
		return written, fmt.Errorf("generate code: %w", err)
	}
	return written, nil
}

// sources looks at what the program is made of: all in its folder, and where it is in Go the packages of its module that it
// imports, and the module's .proto files.
func (p *Program) sources() (snapshot, error) {
	s := snapshot{}
	if err := s.below(p.Dir, isSource); err != nil {
		return nil, err
	}
	if p.module == "" {
		return s, nil
	}
	for _, root := range protogen.Roots() {
		if err := s.below(filepath.Join(p.module, root), isProto); err != nil {
			return nil, err
		}
	}
	for _, root := range []string{"pkg", "proto", "third_party"} {
		if err := s.below(filepath.Join(p.module, root), isGo); err != nil {
			return nil, err
		}
	}
	return s, s.add(filepath.Join(p.module, "go.mod"))
}

// relative names files from where the program's module, or else its folder, is.
func (p *Program) relative(files []string) []string {
	root := p.module
	if root == "" {
		root = p.Dir
	}
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f
		if rel, err := filepath.Rel(root, f); err == nil {
			out[i] = rel
		}
	}
	return out
}

func isProto(file string) bool { return strings.HasSuffix(file, ".proto") }

func isGo(file string) bool {
	return strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go")
}

// isSource tells whether a program may be another when a file of its folder has changed.
func isSource(file string) bool {
	return isGo(file) || !slices.Contains([]string{".go", ".md", ".swp", ".tmp"}, filepath.Ext(file)) && !strings.HasSuffix(file, "~")
}
