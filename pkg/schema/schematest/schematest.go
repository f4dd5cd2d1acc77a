// Package schematest compiles .proto sources in a test, so that a service can have a contract that nothing was built with.
package schematest

import (
	"io"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "google.golang.org/genproto/googleapis/api/annotations" // for sources to import
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	_ "micromesh/pkg/meshpb"
	"micromesh/pkg/schema"
)

// Compile compiles sources, by path, and returns the file at one of them, with its comments. Sources may import each other, and
// google/api/annotations.proto and httpbody.proto, mesh/v1/options.proto, and those of google/protobuf with special forms in JSON.
func Compile(t testing.TB, path string, sources map[string]string) protoreflect.FileDescriptor {
	t.Helper()
	c := protocompile.Compiler{
		SourceInfoMode: protocompile.SourceInfoStandard,
		Resolver: protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
			if s, ok := sources[path]; ok {
				return protocompile.SearchResult{Source: io.Reader(strings.NewReader(s))}, nil
			}
			f, err := protoregistry.GlobalFiles.FindFileByPath(path)
			return protocompile.SearchResult{Desc: f}, err
		}),
	}
	compiled, err := c.Compile(t.Context(), path)
	if err != nil {
		t.Fatalf("compile %s: %v", path, err)
	}
	packed, err := schema.Pack(compiled[0]) // its options are of types that the compiler made: they are read anew
	if err != nil {
		t.Fatal(err)
	}
	files, err := schema.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	return files[len(files)-1]
}

// File compiles a source that has the usual head: syntax, a package, and the imports of annotations and options.
func File(t testing.TB, pkg, body string) protoreflect.FileDescriptor {
	t.Helper()
	path := strings.ReplaceAll(pkg, ".", "/") + ".proto"
	return Compile(t, path, map[string]string{path: Head(pkg) + body})
}

// Head is the usual head of a source.
func Head(pkg string) string {
	return "syntax = \"proto3\";\npackage " + pkg + ";\nimport \"google/api/annotations.proto\";\nimport \"mesh/v1/options.proto\";\n"
}
