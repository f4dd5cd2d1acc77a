// Package protogen generates the Go code of .proto files: messages (protoc-gen-go), go-micro stubs (protoc-gen-micro) and
// counterfeiter fakes of their interfaces. It needs no protoc: it compiles the sources itself, and the generators, in the
// versions that go.mod has, are linked in. A main that runs it calls [Plugin] first.
package protogen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Config says what to generate, from the module's folder, which is the working one.
type Config struct {
	Module string   // path of the module, in which go_package options lie
	Roots  []string // folders of .proto sources; imports are looked for in each
	Check  bool     // write nothing, and fail where a file would change
}

// Run generates.
//
// The program's main must have called Plugin.
//
// Errors: what is wrong in a source, with its file and line; with Check, the files that are out of date.
func Run(ctx context.Context, cfg Config) error {
	sources, err := cfg.sources()
	if err != nil {
		return err
	}
	files, err := cfg.compile(ctx, sources)
	if err != nil {
		return err
	}
	out := map[string][]byte{} // by path in the module
	if err := cfg.messages(files, out); err != nil {
		return err
	}
	for _, f := range files {
		if f.Services().Len() == 0 {
			continue
		}
		if err := cfg.stubs(ctx, f, out); err != nil { // one package at a time
			return err
		}
	}
	if err := cfg.fakes(ctx, files, out); err != nil {
		return err
	}
	return cfg.write(out)
}

// sources gives the .proto files to generate for, relative to their root; google's own are only imported.
func (c Config) sources() ([]string, error) {
	var out []string
	for _, root := range c.Roots {
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

func (c Config) compile(ctx context.Context, sources []string) ([]protoreflect.FileDescriptor, error) {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: c.Roots}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	res, err := compiler.Compile(ctx, sources...)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	files := make([]protoreflect.FileDescriptor, len(res))
	for i, f := range res {
		files[i] = f
	}
	return files, nil
}

// goDir is the folder that a file's go_package names.
func (c Config) goDir(f protoreflect.FileDescriptor) string {
	pkg, _, _ := strings.Cut(f.Options().(*descriptorpb.FileOptions).GetGoPackage(), ";")
	return strings.TrimPrefix(pkg, c.Module+"/")
}

func (c Config) write(out map[string][]byte) error {
	var stale []string
	for file, code := range out {
		old, err := os.ReadFile(filepath.FromSlash(file))
		if err == nil && bytes.Equal(old, code) {
			continue
		}
		if c.Check {
			stale = append(stale, file)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.FromSlash(file), code, 0o644); err != nil {
			return err
		}
	}
	if len(stale) > 0 {
		sort.Strings(stale)
		return fmt.Errorf("out of date, run `make generate`: %s", strings.Join(stale, ", "))
	}
	return nil
}
