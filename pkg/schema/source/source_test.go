package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/pkg/schema"
	"micromesh/pkg/schema/schematest"
	"micromesh/pkg/schema/source"
	userpb "micromesh/user/proto"
)

const userProto = "../../../proto/user/v1/user.proto"

// stands is the number of the line of a source that begins with a text, from 1.
func stands(t *testing.T, begin string) int {
	t.Helper()
	text, err := os.ReadFile(userProto)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := bytes.Cut(text, []byte("\n"+begin))
	if !ok {
		t.Fatalf("no line begins with %q", begin)
	}
	return bytes.Count(before, []byte("\n")) + 2
}

// TestGeneratedCodeKnowsItsSource asks what the code of the mesh's own services knows, and what travels in their schema.
func TestGeneratedCodeKnowsItsSource(t *testing.T) {
	linked := userpb.File_user_v1_user_proto
	if linked.SourceLocations().Len() > 0 {
		t.Fatal("protoc-gen-go keeps sources now: this package is not needed any more")
	}
	packed, err := schema.Pack(linked)
	if err != nil {
		t.Fatal(err)
	}
	files, err := schema.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]protoreflect.FileDescriptor{"linked": linked, "packed": files[len(files)-1]} {
		t.Run(name, func(t *testing.T) {
			rows := []struct {
				of            protoreflect.Descriptor
				line, comment string
			}{
				{f.Services().ByName("UserService"), "service UserService ", "UserService owns accounts"},
				{f.Services().ByName("UserService").Methods().ByName("Login"), "  rpc Login(", "Login answers a token"},
				{f.Messages().ByName("LoginRequest"), "message LoginRequest ", ""},
				{f.Messages().ByName("LoginRequest").Fields().ByName("password"), "", ""},
			}
			for _, r := range rows {
				l := source.Location(r.of)
				if want := r.line; want != "" && l.StartLine+1 != stands(t, want) {
					t.Errorf("%s is on line %d, want %d", r.of.FullName(), l.StartLine+1, stands(t, want))
				}
				if !strings.HasPrefix(strings.TrimSpace(l.LeadingComments), r.comment) || l.Path == nil {
					t.Errorf("%s: %+v", r.of.FullName(), l)
				}
			}
		})
	}
	login := linked.Services().Get(0).Methods().ByName("Login")
	wrong := source.Wrong(login, errors.New("it is bad"))
	if want := fmt.Sprintf("user/v1/user.proto:%d: user.v1.UserService.Login: it is bad", stands(t, "  rpc Login(")); wrong.Error() != want {
		t.Errorf("got %q, want %q", wrong, want)
	}
}

// TestAnothersFileIsNotTakenForOurs has a file that somebody has published under the path of one that is linked in.
func TestAnothersFileIsNotTakenForOurs(t *testing.T) {
	d := protodesc.ToFileDescriptorProto(userpb.File_user_v1_user_proto)
	d.Dependency, d.Service, d.MessageType = nil, nil, []*descriptorpb.DescriptorProto{{Name: proto.String("LoginRequest")}}
	another, err := protodesc.NewFile(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := source.Location(another.Messages().Get(0)); l.Path != nil {
		t.Errorf("it stands at %+v", l)
	}
	if source.Describe(another).SourceCodeInfo != nil {
		t.Error("it has our comments")
	}
}

func TestWithoutASourceThereIsNoLine(t *testing.T) {
	f := schematest.File(t, "shop.v1", `message M {} service Shop { rpc Get(M) returns (M) {} }`)
	d := protodesc.ToFileDescriptorProto(f)
	d.SourceCodeInfo = nil
	again, err := protodesc.NewFile(d, files(f))
	if err != nil {
		t.Fatal(err)
	}
	m := again.Services().Get(0).Methods().Get(0)
	if got, want := source.Wrong(m, errors.New("it is bad")).Error(), "shop/v1.proto: shop.v1.Shop.Get: it is bad"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTrimLeavesDeclarations(t *testing.T) {
	rows := map[string]struct {
		path []int32
		kept bool
	}{
		"the file":          {nil, false},
		"its syntax":        {[]int32{12}, false},
		"an import":         {[]int32{3, 0}, false},
		"a message":         {[]int32{4, 1}, true},
		"its name":          {[]int32{4, 1, 1}, false},
		"a field":           {[]int32{4, 1, 2, 0}, true},
		"a field's type":    {[]int32{4, 1, 2, 0, 5}, false},
		"a message in one":  {[]int32{4, 1, 3, 0, 3, 2}, true},
		"a oneof":           {[]int32{4, 1, 8, 0}, true},
		"a value in one":    {[]int32{4, 1, 4, 0, 2, 1}, true},
		"a value":           {[]int32{5, 0, 2, 1}, true},
		"a method":          {[]int32{6, 0, 2, 3}, true},
		"a method's option": {[]int32{6, 0, 2, 3, 4, 72295728}, false},
		"an extension":      {[]int32{7, 0}, false},
	}
	for name, r := range rows {
		in := &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{{
			Path: r.path, Span: []int32{1, 2, 3}, LeadingComments: proto.String("before"), TrailingComments: proto.String("behind"), LeadingDetachedComments: []string{"far"},
		}}}
		out := source.Trim(in)
		if len(out.Location) > 0 != r.kept {
			t.Errorf("%s is kept: %v, want %v", name, !r.kept, r.kept)
			continue
		}
		if r.kept && (out.Location[0].GetLeadingComments() != "before" || len(out.Location[0].LeadingDetachedComments) > 0 || len(out.Location[0].Span) != 3) {
			t.Errorf("%s: %v", name, out)
		}
	}
}

// files resolves what a file imports.
func files(f protoreflect.FileDescriptor) protodesc.Resolver { return imports{f} }

type imports struct{ of protoreflect.FileDescriptor }

func (i imports) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	for j := range i.of.Imports().Len() {
		if one := i.of.Imports().Get(j); one.Path() == path {
			return one.FileDescriptor, nil
		}
	}
	return nil, fmt.Errorf("no %s", path)
}

func (i imports) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	return nil, fmt.Errorf("no %s", name)
}
