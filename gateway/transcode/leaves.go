package transcode

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Bounds of the fields within messages that a description lists as parameters. A query may name more.
const (
	mostLeaves  = 256
	deepestLeaf = 5
)

// parameter of a query: a field that a text can set, "owner" or "filter.owner".
type parameter struct {
	name string
	fd   protoreflect.FieldDescriptor
}

// queryOf lists the fields of a request that a query can set.
func queryOf(d protoreflect.MessageDescriptor) []parameter {
	var l leaves
	for i := range d.Fields().Len() {
		l.add("", d.Fields().Get(i))
	}
	return l.out
}

// inputOf lists the fields that a binding takes from the query, or else from the body.
func inputOf(n *Binding) []parameter {
	if !n.HasBody {
		return queryOf(n.Desc.Input())
	}
	fields := n.Desc.Input().Fields()
	out := make([]parameter, fields.Len())
	for i := range out {
		out[i] = parameter{fields.Get(i).JSONName(), fields.Get(i)}
	}
	return out
}

type leaves struct {
	out    []parameter
	open   []protoreflect.FullName // messages that the present one is in
	nested int
}

func (l *leaves) add(before string, fd protoreflect.FieldDescriptor) {
	f := fieldOf(fd)
	if f.mapped() {
		if before != "" {
			l.nested++
		}
		l.out = append(l.out, parameter{before + f.json, fd})
		return
	}
	d := fd.Message()
	if f.form != formMessage || f.list || len(l.open) == deepestLeaf || slices.Contains(l.open, d.FullName()) {
		return
	}
	l.open = append(l.open, d.FullName())
	for i := 0; i < d.Fields().Len() && l.nested < mostLeaves; i++ {
		l.add(before+f.json+".", d.Fields().Get(i))
	}
	l.open = l.open[:len(l.open)-1]
}
