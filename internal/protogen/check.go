package protogen

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/gateway/transcode"
	"micromesh/pkg/schema"
	"micromesh/pkg/schema/source"
)

// check refuses what a gateway would refuse when the service starts: methods without a binding or an access rule, bindings
// that clash, or whose path doesn't begin with the service's slug, permissions that are not its own. Each mistake is told with
// its file and line, and all at once.
func (c Config) check(files []protoreflect.FileDescriptor) error {
	var wrong []error
	for _, f := range files {
		if f.Services().Len() == 0 {
			continue
		}
		packed, err := schema.Pack(f)
		if err != nil {
			return fmt.Errorf("%s: %w", c.file(f.Path()), err)
		}
		opened, err := schema.Open(packed) // whose options are of the types that this program was built with
		if err != nil {
			return fmt.Errorf("%s: %w", c.file(f.Path()), err)
		}
		served := opened[len(opened)-1]
		_, err = transcode.NewService(cmp.Or(c.defined(f), slugOf(served)), served)
		wrong = append(wrong, c.located(err)...)
	}
	return errors.Join(wrong...)
}

// defined is the slug that the service's definition gives it: the .mu file beside the folder of its generated code. It is empty
// where there is none.
func (c Config) defined(f protoreflect.FileDescriptor) string {
	found, err := filepath.Glob(filepath.Join(c.Dir, path.Dir(c.goDir(f)), "*.mu"))
	if err != nil || len(found) != 1 {
		return ""
	}
	text, err := os.ReadFile(found[0])
	var definition struct{ ID string }
	if err != nil || yaml.Unmarshal(text, &definition) != nil {
		return ""
	}
	return definition.ID
}

// slugOf is the service's slug where nothing defines it: what the first of its paths begins with.
func slugOf(f protoreflect.FileDescriptor) string {
	for i := range f.Services().Len() {
		methods := f.Services().Get(i).Methods()
		for j := range methods.Len() {
			rule, _ := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
			for _, path := range []string{rule.GetGet(), rule.GetPut(), rule.GetPost(), rule.GetDelete(), rule.GetPatch()} {
				if slug, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/"); slug != "" {
					return slug
				}
			}
		}
	}
	return ""
}

// located gives the mistakes of an error, each by its file as the module has it.
func (c Config) located(err error) (out []error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			out = append(out, c.located(one)...)
		}
		return out
	}
	if m, ok := errors.AsType[*source.MistakeError](err); ok {
		there := *m
		there.File, there.Method = c.file(m.File), protoreflect.FullName(m.Method.Name())
		return []error{&there}
	}
	if err != nil {
		out = append(out, err)
	}
	return out
}
