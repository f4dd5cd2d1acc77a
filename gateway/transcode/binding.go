// Package transcode turns HTTP requests into RPC calls by the HTTP bindings of services' .proto files
// (google.api.http), and describes them as OpenAPI.
package transcode

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/internal/paths"
	"micromesh/pkg/meshpb"
	rpcserver "micromesh/pkg/rpc/server"
	"micromesh/pkg/schema/source"
)

// Binding leads an HTTP method and path to an RPC method.
type Binding struct {
	Service  string // go-micro service, the path's first segment: "user-svc"
	Endpoint string // "UserService.Login"
	Method   string // HTTP method
	Pattern  string // "/user-svc/user/{userId}"
	Success  int    // HTTP status of success
	HasBody  bool   // whether the request's body is the message
	Guest    bool   // whether the service may be a guest, since no schema describes it
	Access   *meshpb.Access

	Desc     protoreflect.MethodDescriptor
	segments []segment
	query    fields // that a query may name; nil for any
	names    *names // in descriptions
	open     bool   // query may not be all that there is
	newer    *newer // what answers of later versions have; nil for none

	guess Guess             // of a guest's fields
	texts map[string]sample // of the last message to a guest
	tried map[string]bool   // "field form"
	sent  []byte            // the last message to a guest
}

// segment of a pattern: a literal, or a parameter named as in JSON.
type segment struct {
	literal string
	param   string
	field   field
}

// Bindings is a set of bindings that a request is matched against. It doesn't change.
type Bindings struct {
	byService map[string][]*Binding
	readings  map[string]*paths.Tree[*Binding] // for paths in other spellings
}

// New compiles the bindings of files. It tells all that are wrong at once, each as a [*source.MistakeError]: a
// method without a binding or an access rule, a path whose first segment is a parameter, a parameter that is no field, two bindings of one route.
func New(files ...protoreflect.FileDescriptor) (*Bindings, error) {
	return compile(files, func(protoreflect.MethodDescriptor) bool { return true })
}

// compile compiles the bindings of those methods that are wanted.
func compile(files []protoreflect.FileDescriptor, wanted func(protoreflect.MethodDescriptor) bool) (*Bindings, error) {
	b := &Bindings{byService: map[string][]*Binding{}, readings: map[string]*paths.Tree[*Binding]{}}
	var wrong []error
	for _, f := range files {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				if !wanted(methods.Get(j)) {
					continue
				}
				if err := b.add(methods.Get(j)); err != nil {
					wrong = append(wrong, source.Wrong(methods.Get(j), err))
				}
			}
		}
	}
	versions{}.compile(b)
	for slug, list := range b.byService {
		// Literals before parameters, so that the first match is the most exact one.
		slices.SortStableFunc(list, func(x, y *Binding) int { return strings.Compare(x.rank(), y.rank()) })
		wrong = append(wrong, clashes(list)...)
		b.readings[slug] = readings(list)
	}
	return b, errors.Join(wrong...)
}

func (b *Bindings) add(m protoreflect.MethodDescriptor) error {
	rule := boundTo(m)
	if rule == nil {
		return errors.New("add `option (google.api.http)`")
	}
	access, err := rpcserver.Access(m)
	if err != nil {
		return err
	}
	success, _ := proto.GetExtension(m.Options(), meshpb.E_Success).(int32)
	if success == 0 {
		success = http.StatusOK
	}
	if err := takes(m); err != nil {
		return err
	}
	for i, r := range append([]*annotations.HttpRule{rule}, rule.AdditionalBindings...) {
		if i > 0 && len(r.AdditionalBindings) > 0 {
			return errors.New("an additional binding nests additional_bindings: add them to the method's rule")
		}
		if err := b.bind(m, r, access, int(success)); err != nil {
			return err
		}
	}
	return nil
}

func boundTo(m protoreflect.MethodDescriptor) *annotations.HttpRule {
	rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	return rule
}

// rank sorts a literal before a parameter at each segment.
func (n *Binding) rank() string {
	var s strings.Builder
	for _, seg := range n.segments {
		if seg.param != "" {
			s.WriteString("/~")
			continue
		}
		s.WriteString("/" + seg.literal)
	}
	return s.String()
}

func clashes(list []*Binding) (wrong []error) {
	seen := map[string]*Binding{}
	for _, n := range list {
		key := n.Method + " " + n.rank()
		if first, ok := seen[key]; ok {
			wrong = append(wrong, source.Wrong(n.Desc, fmt.Errorf("%s %s is bound to %s already", n.Method, n.Pattern, first.Desc.FullName())))
			continue
		}
		seen[key] = n
	}
	return wrong
}

// Endpoint gives a binding of a service's method, or nil.
func (b *Bindings) Endpoint(service, endpoint string) *Binding {
	for _, n := range b.byService[service] {
		if n.Endpoint == endpoint {
			return n
		}
	}
	return nil
}

// Untyped makes a binding to a method whose schema is not known: its parameters are texts, and it decides itself who may call it.
func Untyped(service, endpoint, method, pattern string) *Binding {
	return &Binding{
		Service: service, Endpoint: endpoint, Method: method, Pattern: pattern, Success: http.StatusOK, HasBody: true, Guest: true,
		Access: &meshpb.Access{Rule: &meshpb.Access_Caller{Caller: meshpb.Caller_CALLER_PUBLIC}},
	}
}

// Has tells whether a service has bindings.
func (b *Bindings) Has(service string) bool { return len(b.byService[service]) > 0 }

// All lists the bindings, sorted by service and path.
func (b *Bindings) All() []*Binding {
	var out []*Binding
	for _, list := range b.byService {
		out = append(out, list...)
	}
	slices.SortFunc(out, func(x, y *Binding) int {
		return strings.Compare(x.Pattern+" "+x.Method, y.Pattern+" "+y.Method)
	})
	return out
}

// Match finds the binding for a path as it was sent. If the path fits and the method doesn't, it returns the methods that
// would. HEAD is a GET whose answer is its head (RFC 9110, 9.3.2).
func (b *Bindings) Match(service, method, path string) (found *Binding, params []string, allowed []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, n := range b.byService[service] {
		p, ok := n.match(path)
		if !ok {
			continue
		}
		if n.Method == method {
			return n, p, nil
		}
		allowed = append(allowed, n.Method)
	}
	return nil, nil, allowed
}

// match compares segment by segment, and gives the parameters' values, still encoded.
func (n *Binding) match(path string) (params []string, ok bool) {
	rest := path
	for i, seg := range n.segments {
		if len(rest) == 0 || rest[0] != '/' {
			return nil, false
		}
		rest = rest[1:]
		value := rest
		if j := strings.IndexByte(rest, '/'); j >= 0 {
			value, rest = rest[:j], rest[j:]
		} else {
			rest = ""
		}
		if i == len(n.segments)-1 && rest != "" {
			return nil, false
		}
		if seg.param == "" {
			if value != seg.literal {
				return nil, false
			}
			continue
		}
		if value == "" {
			return nil, false
		}
		params = append(params, value)
	}
	return params, true
}
