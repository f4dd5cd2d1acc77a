package protogen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"

	"go-micro.dev/v5/cmd/protoc-gen-micro/generator"
	_ "go-micro.dev/v5/cmd/protoc-gen-micro/plugin/micro" // registers itself with the generator
	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	compiler "google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// request is what protoc would send a plugin for files: they, after all that they import.
func request(files ...protoreflect.FileDescriptor) *pluginpb.CodeGeneratorRequest {
	req := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("paths=source_relative")}
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
	}
	return req
}

// messages generates what protoc-gen-go does.
func (c Config) messages(files []protoreflect.FileDescriptor, out map[string][]byte) error {
	gen, err := compiler.Options{}.New(request(files...))
	if err != nil {
		return fmt.Errorf("generate messages: %w", err)
	}
	gen.SupportedFeatures, gen.SupportedEditionsMinimum, gen.SupportedEditionsMaximum = gengo.SupportedFeatures, gengo.SupportedEditionsMinimum, gengo.SupportedEditionsMaximum
	for _, f := range gen.Files {
		if f.Generate {
			gengo.GenerateFile(gen, f)
		}
	}
	return c.place(gen.Response(), files, out)
}

// pluginEnv makes this program the plugin: see [Plugin].
const pluginEnv = "MICROMESH_PROTOC_GEN_MICRO"

// Plugin is protoc-gen-micro, where this program was started as that by [Run]; otherwise it does nothing. Mains call it first.
// Its generator keeps what it has seen in globals, and ends the process where it fails: it needs one of its own each time.
func Plugin() {
	if os.Getenv(pluginEnv) == "" {
		return
	}
	g := generator.New()
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		g.Error(err, "read request")
	}
	if err := proto.Unmarshal(in, g.Request); err != nil {
		g.Error(err, "read request")
	}
	g.CommandLineParameters(g.Request.GetParameter())
	g.WrapTypes()
	g.SetPackageNames()
	g.BuildTypeNameMap()
	g.GenerateAllFiles()
	out, err := proto.Marshal(g.Response)
	if err != nil {
		g.Error(err, "write answer")
	}
	if _, err := os.Stdout.Write(out); err != nil {
		g.Error(err, "write answer")
	}
	os.Exit(0)
}

// stubs generates what protoc-gen-micro does, by this program as its plugin.
func (c Config) stubs(ctx context.Context, f protoreflect.FileDescriptor, out map[string][]byte) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("generate stubs: %w", err)
	}
	in, err := proto.Marshal(request(f))
	if err != nil {
		return fmt.Errorf("generate stubs: %w", err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), pluginEnv+"=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	b, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("generate stubs of %s: %w: %s", f.Path(), err, stderr.Bytes())
	}
	var rsp pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(b, &rsp); err != nil {
		return fmt.Errorf("generate stubs: %w", err)
	}
	return c.place(&rsp, []protoreflect.FileDescriptor{f}, out)
}

// place puts what a generator gave where each file's go_package says.
func (c Config) place(rsp *pluginpb.CodeGeneratorResponse, files []protoreflect.FileDescriptor, out map[string][]byte) error {
	if rsp.Error != nil {
		return fmt.Errorf("generate: %s", rsp.GetError())
	}
	dirs := map[string]string{}
	for _, f := range files {
		dirs[strings.TrimSuffix(f.Path(), ".proto")] = c.goDir(f)
	}
	for _, f := range rsp.File {
		base, _, _ := strings.Cut(f.GetName(), ".")
		dir, ok := dirs[base]
		if !ok {
			return fmt.Errorf("generate: unexpected file %s", f.GetName())
		}
		out[path.Join(dir, path.Base(f.GetName()))] = []byte(f.GetContent())
	}
	return nil
}
