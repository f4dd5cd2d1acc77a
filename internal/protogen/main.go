// Command protogen generates the Go code of every .proto in the tree: messages (protoc-gen-go), go-micro stubs
// (protoc-gen-micro) and counterfeiter fakes of their interfaces. It needs no protoc: it compiles the sources itself
// and runs the plugins that go.mod pins as tools.
//
//	go run ./internal/protogen [-check]
//
// With -check it writes nothing, and fails where a file would change.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const module = "micromesh"

// roots are where .proto sources lie; imports resolve against each.
var roots = []string{"proto", "pkg/events/proto"}

func main() {
	check := flag.Bool("check", false, "write nothing; fail where a file would change")
	flag.Parse()
	if err := run(context.Background(), *check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, check bool) error {
	sources, err := findSources()
	if err != nil {
		return err
	}
	files, err := compile(ctx, sources)
	if err != nil {
		return err
	}
	out := map[string][]byte{} // by path in the module
	if err := plugin(ctx, "protoc-gen-go", files, out); err != nil {
		return err
	}
	for _, f := range files {
		if f.Services().Len() == 0 {
			continue
		}
		// protoc-gen-micro takes one package at a time.
		if err := plugin(ctx, "protoc-gen-micro", []protoreflect.FileDescriptor{f}, out); err != nil {
			return err
		}
	}
	if err := fakes(ctx, files, out, check); err != nil {
		return err
	}
	return write(out, check)
}

// findSources gives the .proto files to generate for, relative to their root; google's own are only imported.
func findSources() ([]string, error) {
	var out []string
	for _, root := range roots {
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

func compile(ctx context.Context, sources []string) ([]protoreflect.FileDescriptor, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: roots}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	res, err := c.Compile(ctx, sources...)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	files := make([]protoreflect.FileDescriptor, len(res))
	for i, f := range res {
		files[i] = f
	}
	return files, nil
}

// plugin runs a protoc plugin over the files and puts what it answers where each file's go_package says.
func plugin(ctx context.Context, tool string, files []protoreflect.FileDescriptor, out map[string][]byte) error {
	req := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("paths=source_relative")}
	dirs := map[string]string{}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		req.ProtoFile = append(req.ProtoFile, protodesc.ToFileDescriptorProto(f))
	}
	for _, f := range files {
		add(f)
		req.FileToGenerate = append(req.FileToGenerate, f.Path())
		dirs[strings.TrimSuffix(f.Path(), ".proto")] = goDir(f)
	}
	in, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("marshal request of %s: %w", tool, err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", tool)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run %s: %w", tool, err)
	}
	var rsp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(answer, &rsp); err != nil {
		return fmt.Errorf("read answer of %s: %w", tool, err)
	}
	if rsp.Error != nil {
		return fmt.Errorf("%s: %s", tool, rsp.GetError())
	}
	for _, f := range rsp.File {
		base := strings.SplitN(f.GetName(), ".", 2)
		dir, ok := dirs[base[0]]
		if !ok {
			return fmt.Errorf("%s: unexpected file %s", tool, f.GetName())
		}
		out[path.Join(dir, path.Base(f.GetName()))] = []byte(f.GetContent())
	}
	return nil
}

// goDir is the folder that a file's go_package names.
func goDir(f protoreflect.FileDescriptor) string {
	pkg, _, _ := strings.Cut(f.Options().(*descriptorpb.FileOptions).GetGoPackage(), ";")
	return strings.TrimPrefix(pkg, module+"/")
}

var ifaces = regexp.MustCompile(`(?m)^type (\w+(?:Service|Handler|Stream)) interface \{`)

// fakes runs counterfeiter for each interface of the generated stubs. Counterfeiter reads packages from disk, so the
// stubs are written first, unless this is a check.
func fakes(ctx context.Context, files []protoreflect.FileDescriptor, out map[string][]byte, check bool) error {
	if err := write(out, check); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "protogen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, f := range files {
		if f.Services().Len() == 0 {
			continue
		}
		dir := goDir(f)
		stub := out[path.Join(dir, strings.TrimSuffix(path.Base(f.Path()), ".proto")+".pb.micro.go")]
		for _, m := range ifaces.FindAllSubmatch(stub, -1) {
			name := string(m[1])
			file := path.Join(dir, "fakes", snake(name)+".go")
			code, err := fake(ctx, tmp, dir, name)
			if err != nil {
				return fmt.Errorf("fake of %s: %w", name, err)
			}
			out[file] = code
		}
	}
	return nil
}

// fake runs counterfeiter for one interface. It names the package after the folder that it writes to.
func fake(ctx context.Context, tmp, dir, name string) ([]byte, error) {
	file := filepath.Join(tmp, "fakes", name+".go")
	cmd := exec.CommandContext(ctx, "go", "tool", "counterfeiter", "-o", file, "--fake-name", name, "./"+dir, name)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("counterfeiter: %w\n%s", err, msg)
	}
	return os.ReadFile(file)
}

func snake(s string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z0-9])([A-Z])`).ReplaceAllString(s, "${1}_$2"))
}

func write(out map[string][]byte, check bool) error {
	var stale []string
	for file, code := range out {
		old, err := os.ReadFile(filepath.FromSlash(file))
		if err == nil && bytes.Equal(old, code) {
			continue
		}
		if check {
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
