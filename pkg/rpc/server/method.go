package server

import (
	"errors"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/meshpb"
	"micromesh/pkg/schema/source"
)

// methods are a server's methods by go-micro endpoint: "UserService.Login".
type methods map[string]*method

type method struct {
	access *meshpb.Access
	input  *rules
}

// compile reads every method's options. It tells all that are wrong at once.
func compile(files []protoreflect.FileDescriptor) (methods, error) {
	out := methods{}
	c := compiler{}
	var wrong []error
	for _, f := range files {
		for i := range f.Services().Len() {
			svc := f.Services().Get(i)
			for j := range svc.Methods().Len() {
				m := svc.Methods().Get(j)
				access, err := Access(m)
				if err != nil {
					wrong = append(wrong, source.Wrong(m, err))
					continue
				}
				out[string(svc.Name())+"."+string(m.Name())] = &method{access: access, input: c.rules(m.Input())}
			}
		}
	}
	return out, errors.Join(wrong...)
}

// Access reads who may call a method. A method that doesn't say is an error: it must not be open by accident.
func Access(m protoreflect.MethodDescriptor) (*meshpb.Access, error) {
	access, _ := proto.GetExtension(m.Options(), meshpb.E_Access).(*meshpb.Access)
	if access.GetRule() == nil || (access.GetRole() == "" && access.GetPermission() == "" && access.GetCaller() == meshpb.Caller_CALLER_UNSPECIFIED) {
		return nil, errors.New("add `option (mesh.v1.access)`: it must say who may call the method")
	}
	return access, nil
}
