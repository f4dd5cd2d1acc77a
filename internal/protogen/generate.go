// Package protogen generates the Go code of .proto files: messages (protoc-gen-go) with their comments, go-micro stubs
// (protoc-gen-micro) and counterfeiter fakes of their interfaces. It needs no protoc: it compiles the sources itself, and the generators, in the
// versions that go.mod has, are linked in. A main that runs it calls [Plugin] first.
package protogen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Config says what to generate.
type Config struct {
	Dir    string   // of the module; the working one where it is empty
	Module string   // path of the module, in which go_package options lie
	Roots  []string // folders of .proto sources, of which some may be missing; imports are looked for in each. Default Roots()
	Check  bool     // write nothing, and fail where a file would change
}

// Roots are where a module's .proto sources may lie: those of its services, and those of its events.
func Roots() []string { return []string{"proto", "pkg/events/proto"} }

// Run generates, and gives the files that it has written, by their path in the module.
//
// The program's main must have called Plugin.
//
// Errors: what is wrong in a source, with its file and line; with Check, the files that are out of date.
func Run(ctx context.Context, cfg Config) (written []string, err error) {
	if len(cfg.Roots) == 0 {
		cfg.Roots = Roots()
	}
	sources, err := cfg.sources()
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("there is no .proto below %s", strings.Join(cfg.Roots, " or "))
	}
	files, err := cfg.compile(ctx, sources)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(cfg.check(files), cfg.places(files)); err != nil {
		return nil, err
	}
	out := map[string][]byte{} // by path in the module
	if err := cfg.messages(files, out); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := cfg.source(f, out); err != nil {
			return nil, err
		}
		if f.Services().Len() == 0 {
			continue
		}
		if err := cfg.stubs(ctx, f, out); err != nil { // one package at a time
			return nil, err
		}
	}
	stubs, err := cfg.write(out) // from which counterfeiter reads the interfaces
	if err != nil {
		return nil, err
	}
	fakes, err := cfg.fakes(ctx, files, out)
	if err != nil {
		return stubs, err
	}
	rest, err := cfg.write(fakes)
	return append(stubs, rest...), err
}

// places refuses files whose code would lie outside of the module.
func (c Config) places(files []protoreflect.FileDescriptor) error {
	var wrong []error
	for _, f := range files {
		if dir := c.goDir(f); dir == "" || strings.Contains(dir, "..") || !strings.HasPrefix(f.Options().(*descriptorpb.FileOptions).GetGoPackage(), c.Module+"/") {
			wrong = append(wrong, fmt.Errorf(`%s: its go_package must be a folder of the module: option go_package = "%s/…"`, c.file(f.Path()), c.Module))
		}
	}
	return errors.Join(wrong...)
}

// sources gives the .proto files to generate for, relative to their root; google's own are only imported.
func (c Config) sources() ([]string, error) {
	var out []string
	for _, root := range c.Roots {
		root = filepath.Join(c.Dir, root)
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, p)
			if strings.HasSuffix(p, ".proto") && !strings.HasPrefix(rel, "google/") {
				out = append(out, filepath.ToSlash(rel))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("find sources in %s: %w", root, err)
		}
	}
	sort.Strings(out)
	return out, nil
}

// linked gives the sources that this program was built with: the mesh's options, and google's.
func linked(path string) (protocompile.SearchResult, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Desc: f}, nil
}

func (c Config) compile(ctx context.Context, sources []string) ([]protoreflect.FileDescriptor, error) {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: c.Roots, Accessor: func(path string) (io.ReadCloser, error) { return os.Open(filepath.Join(c.Dir, path)) }},
			protocompile.ResolverFunc(linked),
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	res, err := compiler.Compile(ctx, sources...)
	if e, ok := errors.AsType[reporter.ErrorWithPos](err); ok {
		at := e.GetPosition()
		return nil, fmt.Errorf("%s:%d:%d: %w", c.file(at.Filename), at.Line, at.Col, e.Unwrap())
	}
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	files := make([]protoreflect.FileDescriptor, len(res))
	for i, f := range res {
		files[i] = f
	}
	return files, nil
}

// file is where a source lies in the module.
func (c Config) file(source string) string {
	for _, root := range c.Roots {
		if _, err := os.Stat(filepath.Join(c.Dir, root, source)); err == nil {
			return path.Join(filepath.ToSlash(root), source)
		}
	}
	return source // it is linked
}

// goDir is the folder that a file's go_package names.
func (c Config) goDir(f protoreflect.FileDescriptor) string {
	pkg, _, _ := strings.Cut(f.Options().(*descriptorpb.FileOptions).GetGoPackage(), ";")
	return strings.TrimPrefix(pkg, c.Module+"/")
}

// write writes what differs from what is there.
func (c Config) write(out map[string][]byte) (written []string, err error) {
	var stale []string
	for file, code := range out {
		old, err := os.ReadFile(filepath.Join(c.Dir, filepath.FromSlash(file)))
		if err == nil && bytes.Equal(old, code) {
			continue
		}
		if c.Check {
			stale = append(stale, file)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(c.Dir, file)), 0o755); err != nil {
			return written, err
		}
		if err := os.WriteFile(filepath.Join(c.Dir, filepath.FromSlash(file)), code, 0o644); err != nil {
			return written, err
		}
		written = append(written, file)
	}
	if len(stale) > 0 {
		sort.Strings(stale)
		return nil, fmt.Errorf("out of date, generate again: %s", strings.Join(stale, ", "))
	}
	sort.Strings(written)
	return written, nil
}
