// Package scaffold writes new services, in the shape that the mesh's own have: what `micro new` does. A service comes into the
// repository of the mesh, beside the others, or into a folder that is a module of its own, with the sources of the mesh that it is
// built with. It is whole, with generated code and tests, or nothing of it is there.
package scaffold

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Languages of services that speak HTTP themselves.
const (
	Go     = "go"
	Python = "python"
	Node   = "node"
)

// mesh is the path of the mesh's module.
const mesh = "micromesh"

// Spec says what to write.
type Spec struct {
	Name   Name
	Dir    string  // where the service's folder comes
	Module string  // path of its module; default its slug. In the repository there is none.
	NoDB   bool    // it keeps nothing
	Events bool    // it tells what happens, on a topic of its own
	Entity *Entity // what it keeps; nil is the greetings of an example
	HTTP   string  // one of the languages, where it speaks HTTP itself; RPC otherwise
}

// Validate tells everything that is wrong at once.
func (s *Spec) Validate() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if s.NoDB && s.Entity != nil {
		add("--crud keeps its data in a database: leave out --no-db")
	}
	if s.NoDB && s.Events {
		add("--events leave in the transaction of what they tell: leave out --no-db")
	}
	switch s.HTTP {
	case "":
	case Go, Python, Node:
		if s.Entity != nil || s.Events {
			add("--crud and --events are for services with RPC: leave out --http")
		}
	default:
		add("--http is %q; it must be %s, %s or %s", s.HTTP, Go, Python, Node)
	}
	if s.Entity != nil && s.Entity.Name == s.Name.Type+"Service" {
		add("--crud %q: the service has another %s: choose another name", s.Entity.Name, s.Entity.Name)
	}
	if s.Module != "" && !moduleForm.MatchString(s.Module) {
		add("--module is %q; it must be the path of a Go module, such as example.com/shop", s.Module)
	}
	if strings.HasPrefix(s.Module+"/", mesh+"/") {
		add("--module can't be %s, which is the mesh's", s.Module)
	}
	return errors.Join(wrong...)
}

// Written tells what was written.
type Written struct {
	Dir        string // of the service
	Repository bool   // whether that is in the mesh's repository
	Files      []string
}

// New writes a service. Nothing is left behind where it fails.
//
// The program's main must have called protogen.Plugin.
//
// Errors: what is wrong with the spec or with where it is to go; others are one line for the operator.
func New(ctx context.Context, s Spec) (Written, error) {
	if err := s.Validate(); err != nil {
		return Written{}, err
	}
	repository, err := inRepository(s.Dir)
	if err != nil {
		return Written{}, err
	}
	if repository {
		if s.Module != "" {
			return Written{}, errors.New("in the mesh's repository a service has no module of its own: leave out --module")
		}
		return s.intoRepository(ctx)
	}
	return s.intoModule(ctx)
}

// view is what templates see.
type view struct {
	Spec
	Name
	Import     string // path of the service's packages
	Root       string // path of the module, for what lies beside the service
	Repository bool
}

func (s *Spec) view(repository bool) view {
	v := view{Spec: *s, Name: s.Name, Repository: repository}
	if repository {
		v.Root, v.Import = mesh, mesh+"/"+s.Name.Base
	} else {
		v.Root = s.Module
		if v.Root == "" {
			v.Root = s.Name.Slug
		}
		v.Import = v.Root
	}
	return v
}

// DB tells whether the service has a database.
func (v view) DB() bool { return !v.NoDB && v.HTTP == "" }

// RPC tells whether the mesh calls the service by RPC.
func (v view) RPC() bool { return v.HTTP == "" }

// PB is the package of the service's generated code.
func (v view) PB() string { return v.Package + "pb" }

// File is the generated descriptor of the service's proto.
func (v view) File() string { return fmt.Sprintf("File_%s_v1_%s_proto", v.Package, v.Package) }

// Proto is where the service's proto lies, from the module's root.
func (v view) Proto() string { return path.Join("proto", v.Package, "v1", v.Package+".proto") }

// Topic is where the protos of its events lie, from the module's root.
func (v view) Topic() string { return path.Join("pkg/events/proto", v.Package) }

// EventsFile is the generated descriptor of the topic's proto.
func (v view) EventsFile() string { return fmt.Sprintf("File_%s_events_proto", v.Package) }

// Subject is what all events are about, and what happens to it.
func (v view) Subject() string {
	if v.Entity != nil {
		return v.Entity.Name
	}
	return "Greeting"
}
