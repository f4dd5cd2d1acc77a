package transcode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/internal/paths"
	"micromesh/pkg/auth"
	"micromesh/pkg/meshpb"
	"micromesh/pkg/schema/source"
)

// Bounds of a service that publishes its schema, which is small beside what could be made of it.
const (
	maxBindings  = 1000     // each request of the slug is compared with them
	maxDescribed = 16 << 20 // bytes, about, of what is told of the fields: each type tells its own, and each binding those that it takes
)

// NewService compiles the bindings of a service that is not the mesh's own, from the files that it has published. Beyond
// what New refuses, nothing may reach out of the service's slug: paths, permissions and roles begin with it (a role may be
// the mesh's own too). Methods that stream have no binding, and are left out. The last file is the service's own where a mistake
// is of no method.
func NewService(slug string, files ...protoreflect.FileDescriptor) (*Bindings, error) {
	if len(files) == 0 {
		return nil, errors.New("there are no files")
	}
	if err := measure(files); err != nil {
		return nil, wrongFile(files, err)
	}
	b, err := compile(files, func(m protoreflect.MethodDescriptor) bool {
		return !m.IsStreamingClient() && !m.IsStreamingServer() || boundTo(m) != nil
	})
	all := b.All()
	if len(all) == 0 && err == nil {
		return nil, wrongFile(files, errors.New("no method has a binding: add `option (google.api.http)`"))
	}
	wrong := []error{err}
	endpoints := map[string]protoreflect.FullName{}
	for _, n := range all {
		if err := n.within(slug); err != nil {
			wrong = append(wrong, source.Wrong(n.Desc, err))
		}
		if other, ok := endpoints[n.Endpoint]; ok && other != n.Desc.FullName() {
			wrong = append(wrong, source.Wrong(n.Desc, fmt.Errorf("%s is called %s too", other, n.Endpoint)))
		}
		endpoints[n.Endpoint] = n.Desc.FullName()
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	names := namesOf(slug, all)
	for _, n := range all {
		n.names = names
	}
	return b, nil
}

// wrongFile is a mistake of a whole service.
func wrongFile(files []protoreflect.FileDescriptor, err error) error {
	return &source.MistakeError{File: files[len(files)-1].Path(), Err: err}
}

// measure refuses what would take too much to compile and to describe, before any of it is done.
func measure(files []protoreflect.FileDescriptor) error {
	bindings, described, seen := 0, 0, map[protoreflect.FullName]bool{}
	for _, f := range files {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				rule := boundTo(m)
				if rule == nil {
					continue
				}
				n := 1 + len(rule.AdditionalBindings)
				bindings += n
				described += n*weightOfInput(m.Input()) + weightOfAll(m.Input(), seen) + weightOfAll(m.Output(), seen)
				if bindings > maxBindings {
					return fmt.Errorf("it has more than %d bindings", maxBindings)
				}
				if described > maxDescribed {
					return fmt.Errorf("a description of the fields of its types and of %d bindings would have more than %d bytes", bindings, maxDescribed)
				}
			}
		}
	}
	return nil
}

// weightOfAll is about how many bytes a description has of a message and of all that it leads to, without those seen already.
func weightOfAll(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) (n int) {
	if d == nil || seen[d.FullName()] {
		return 0
	}
	seen[d.FullName()] = true
	n = weight(d)
	for i := range d.Fields().Len() {
		n += weightOfAll(d.Fields().Get(i).Message(), seen)
	}
	return n
}

// weightOfInput is about how many bytes a description has of a request's fields, and of those within that a query can set.
func weightOfInput(d protoreflect.MessageDescriptor) int {
	n := weight(d)
	for _, p := range queryOf(d) {
		if strings.Contains(p.name, ".") {
			n += weightOf(p.fd) + len(p.name)
		}
	}
	return n
}

// weight is about how many bytes a description of a message's fields has.
func weight(d protoreflect.MessageDescriptor) (n int) {
	for i := range d.Fields().Len() {
		n += weightOf(d.Fields().Get(i))
	}
	return n
}

func weightOf(fd protoreflect.FieldDescriptor) int {
	const each = 200
	n := each + len(fd.JSONName()) + len(comment(fd))
	for _, s := range rulesOf(fd).GetOneOf() {
		n += len(s)
	}
	if e := fd.Enum(); e != nil {
		n += e.Values().Len() * each
	}
	return n
}

// within tells what of a binding is not the service's own business, or can't be.
func (n *Binding) within(slug string) error {
	if n.Service != slug {
		return fmt.Errorf("the path %s must begin with /%s, the slug of the service", n.Pattern, slug)
	}
	if p := n.Access.GetPermission(); p != "" && !strings.HasPrefix(p, slug+":") {
		return fmt.Errorf("the permission %s must begin with %s:, the slug of the service", p, slug)
	}
	if p := n.Access.GetOthers(); p != "" && !strings.HasPrefix(p, slug+":") {
		return fmt.Errorf("the permission %s must begin with %s:, the slug of the service", p, slug)
	}
	if r := n.Access.GetRole(); r != "" && !strings.HasPrefix(r, slug+":") && r != auth.RoleAdmin && r != auth.RoleUser {
		return fmt.Errorf("the role %s must begin with %s:, or be %s or %s", r, slug, auth.RoleAdmin, auth.RoleUser)
	}
	if c := n.Access.GetCaller(); n.Access.GetRole() == "" && n.Access.GetPermission() == "" && c != meshpb.Caller_CALLER_PUBLIC && c != meshpb.Caller_CALLER_SIGNED_IN {
		return fmt.Errorf("there is no class of callers %d", c)
	}
	if !slices.Contains([]int{200, 201, 202, 204}, n.Success) {
		return fmt.Errorf("success is %d; it must be 200, 201, 202 or 204", n.Success)
	}
	if n.Desc.IsStreamingClient() || n.Desc.IsStreamingServer() {
		return errors.New("a method that streams can't have an HTTP binding")
	}
	return nil
}

// With gives a set with the bindings of other sets too, each of services of its own.
func (b *Bindings) With(others ...*Bindings) *Bindings {
	all := &Bindings{byService: map[string][]*Binding{}, readings: map[string]*paths.Tree[*Binding]{}}
	for _, one := range append([]*Bindings{b}, others...) {
		for slug, list := range one.byService {
			all.byService[slug], all.readings[slug] = list, one.readings[slug]
		}
	}
	return all
}

// names are those that a service's messages have in a description of all services, where others have messages of the same
// names: "shop-svc.Item", or with the message's full name where the service has two of them. They don't depend on which
// other services run. Nil names the messages of the mesh's own services, as their clients know them.
type names struct {
	slug   string
	shared map[protoreflect.Name]bool // by several messages of the service
}

func namesOf(slug string, all []*Binding) *names {
	n := &names{slug: slug, shared: map[protoreflect.Name]bool{}}
	seen := map[protoreflect.FullName]bool{}
	simple := map[protoreflect.Name]bool{}
	var visit func(protoreflect.MessageDescriptor)
	visit = func(d protoreflect.MessageDescriptor) {
		if d == nil || seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		if !d.IsMapEntry() {
			n.shared[d.Name()] = simple[d.Name()]
			simple[d.Name()] = true
		}
		for i := range d.Fields().Len() {
			visit(d.Fields().Get(i).Message())
		}
	}
	for _, b := range all {
		visit(b.Desc.Input())
		visit(b.Desc.Output())
	}
	return n
}

// message is the name of a message's schema.
func (n *names) message(d protoreflect.MessageDescriptor) string {
	switch {
	case n == nil:
		return string(d.Name())
	case n.shared[d.Name()]:
		return n.slug + "." + string(d.FullName())
	}
	return n.slug + "." + string(d.Name())
}

// operation is the name of a method in the description.
func (n *names) operation(m protoreflect.MethodDescriptor) string {
	if n == nil {
		return lowerFirst(string(m.Name()))
	}
	return n.slug + "." + string(m.Parent().Name()) + "." + lowerFirst(string(m.Name()))
}
