package transcode

import (
	"errors"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	"micromesh/internal/paths"
	"micromesh/pkg/meshpb"
)

// Cover is the result of Bindings.Cover.
type Cover struct {
	Binding *Binding // its access rule applies; nil if the path is not guarded
	Closed  bool     // a reading has a binding that is closed
	Allowed []string // methods that the path takes, if its bindings are guarded and none is for the method: the answer is 405 then
}

// ErrAmbiguous reports that servers may read a path as paths with different access rules. Its text is fit for the client.
var ErrAmbiguous = errors.New("the path can be read in two ways that different callers may use: send it in its plain spelling, without encoded slashes, ;parameters and repeated slashes")

// Cover returns the guard of a path that no binding matches as it was sent: that of a binding that any reading of the path matches (see
// package paths). A public binding is not a guard, unless closed reports that it can't be called under its path.
//
// Errors: ErrAmbiguous if readings match bindings with different access rules; those of [paths.Read].
func (b *Bindings) Cover(service, method, path string, closed func(*Binding) bool) (c Cover, err error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	tree := b.readings[service]
	if tree == nil {
		return c, nil
	}
	var room [paths.Max]string
	list, err := paths.Read(room[:0], path)
	if err != nil {
		return c, err
	}
	for _, reading := range list {
		for _, mode := range [...]paths.Mode{0, paths.ExactCase} {
			found, allowed := cover(tree, mode, method, reading)
			switch {
			case found == nil:
				c.Allowed = append(c.Allowed, allowed...)
			case closed(found):
				c.Closed = true
			case public(found):
			case c.Binding != nil && !proto.Equal(c.Binding.Access, found.Access):
				return Cover{}, ErrAmbiguous
			default:
				c.Binding = found
			}
		}
	}
	slices.Sort(c.Allowed)
	c.Allowed = slices.Compact(c.Allowed)
	return c, nil
}

// cover returns the binding of a reading; or the methods of its bindings, if one of them is guarded.
func cover(tree *paths.Tree[*Binding], mode paths.Mode, method, reading string) (found *Binding, allowed []string) {
	guarded := false
	tree.Walk(reading, mode, func(n *Binding) bool {
		if n.Method == method {
			found = n
			return true
		}
		guarded = guarded || !public(n)
		allowed = append(allowed, n.Method)
		return false
	})
	if !guarded || found != nil {
		allowed = nil
	}
	return found, allowed
}

func public(n *Binding) bool { return n.Access.GetCaller() == meshpb.Caller_CALLER_PUBLIC }

// readings makes the tree of a service's bindings, which are sorted.
func readings(list []*Binding) *paths.Tree[*Binding] {
	tree := &paths.Tree[*Binding]{}
	for _, n := range list {
		p := make(paths.Pattern, len(n.segments))
		for i, s := range n.segments {
			p[i] = paths.Segment{Literal: s.literal, Param: s.param}
		}
		tree.Add(p, n)
	}
	return tree
}
