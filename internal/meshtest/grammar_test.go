package meshtest_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/meshpb"

	proxypb "micromesh/proxy/proto"
	registrypb "micromesh/registry/proto"
	userpb "micromesh/user/proto"
)

// TestEveryStringHasAGrammar lists every string of every request of the mesh's own services with the grammar that checks it. A new field
// needs a grammar and a line in the list.
func TestEveryStringHasAGrammar(t *testing.T) {
	var lines []string
	for _, file := range []protoreflect.FileDescriptor{userpb.File_user_v1_user_proto, registrypb.File_registry_v1_registry_proto, proxypb.File_proxy_v1_proxy_proto} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				in := methods.Get(j).Input()
				lines = append(lines, stringsOf(string(methods.Get(j).Name()), in, nil)...)
			}
		}
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	for _, l := range lines {
		if strings.HasSuffix(l, " unspecified") {
			t.Errorf("no grammar: %s", l)
		}
	}
	const golden = "testdata/grammar.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the list differs from %s; with UPDATE_GOLDEN=1 the test writes it:\n%s", golden, got)
	}
}

// stringsOf lists the strings of a message as "Method field.path grammar".
func stringsOf(path string, d protoreflect.MessageDescriptor, within []protoreflect.FullName) (lines []string) {
	if slices.Contains(within, d.FullName()) || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return nil // google.protobuf.Struct and Value are answered as they came, or refused
	}
	within = append(within, d.FullName())
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		value := fd
		if fd.IsMap() {
			value = fd.MapValue()
		}
		rules, _ := proto.GetExtension(fd.Options(), meshpb.E_Rules).(*meshpb.Rules)
		switch {
		case value.Kind() == protoreflect.StringKind:
			name := strings.ToLower(strings.TrimPrefix(rules.GetFormat().String(), "FORMAT_"))
			lines = append(lines, fmt.Sprintf("%s.%s %s", path, fd.JSONName(), name))
		case value.Message() != nil:
			lines = append(lines, stringsOf(path+"."+fd.JSONName(), value.Message(), within)...)
		}
	}
	return lines
}
