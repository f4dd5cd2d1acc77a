package transcode

import (
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/errs"
	"micromesh/pkg/nearest"
)

const (
	mostUnknown = 20 // of one request; also the most known fields that an error lists
	longestName = 64 // bytes of an unknown name in an error
)

// Unknown checks that a request of version 2 has no field that its message doesn't have, at any depth. It checks the body where the
// binding takes one, else the query. Input that can't be read is left to [Binding.Message], which names the reason.
//
// Errors: Invalid, with each unknown field and the nearest known one.
func (n *Binding) Unknown(body []byte, query string) error {
	if n.Desc == nil || n.query == nil {
		return nil
	}
	u := unknown{walker: walker{b: body}}
	if n.HasBody {
		u.value("", n.Desc.Input())
	} else {
		u.parameters(query, n)
	}
	return u.err()
}

// UnknownIn is Unknown for calls whose message comes from body and query alike: see [Binding.Merge].
func (n *Binding) UnknownIn(body []byte, query string) error {
	if n.Desc == nil || n.query == nil {
		return nil
	}
	u := unknown{walker: walker{b: body}}
	u.value("", n.Desc.Input())
	u.parameters(query, n)
	return u.err()
}

// unknown finds the fields of a request that its message doesn't have.
type unknown struct {
	walker
	wrong []errs.Detail
}

func (u *unknown) err() error {
	if len(u.wrong) == 0 {
		return nil
	}
	texts := make([]string, len(u.wrong))
	for i, d := range u.wrong {
		texts[i] = d.Field + " " + d.Message
	}
	return errs.New(errs.Invalid, "", "%s", strings.Join(texts, "; ")).With(u.wrong...)
}

func (u *unknown) parameters(query string, n *Binding) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return
	}
	for name := range values {
		if _, ok := n.query[name]; !ok {
			u.add("", name, n.Desc.Input())
		}
	}
}

// value goes through a message, or a list of them. Messages of google.protobuf have special forms, and take any field.
func (u *unknown) value(path string, d protoreflect.MessageDescriptor) {
	if d == nil || strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		u.skip()
		return
	}
	switch u.peek() {
	case '{':
		u.members(func(quoted []byte) { u.member(path, unquote(quoted), d) })
	case '[':
		i := -1
		u.elements(func() {
			i++
			u.value(fmt.Sprintf("%s[%d].", strings.TrimSuffix(path, "."), i), d)
		})
	default:
		u.skip()
	}
}

func (u *unknown) member(path, name string, d protoreflect.MessageDescriptor) {
	fd := d.Fields().ByJSONName(name)
	if fd == nil {
		fd = d.Fields().ByName(protoreflect.Name(name))
	}
	switch {
	case fd == nil:
		u.add(path, name, d)
		u.skip()
	case fd.IsMap() && u.peek() == '{':
		u.members(func(key []byte) { u.value(path+fd.JSONName()+"["+string(short(key))+"].", fd.MapValue().Message()) })
	default:
		u.value(path+fd.JSONName()+".", fd.Message())
	}
}

func (u *unknown) add(path, name string, d protoreflect.MessageDescriptor) {
	if len(u.wrong) >= mostUnknown {
		return
	}
	msg := "is no field of " + string(d.Name())
	known := make([]string, d.Fields().Len())
	for i := range known {
		known[i] = d.Fields().Get(i).JSONName()
	}
	best := nearest.Name(name, known)
	switch {
	case best != "":
		msg += ": did you mean " + best + "?"
	case len(known) == 0:
		msg += ", which has none"
	case len(known) <= mostUnknown:
		msg += ": it has " + strings.Join(known, ", ")
	}
	u.wrong = append(u.wrong, errs.Detail{Field: path + readable(name), Rule: "unknown", Message: msg})
}

// readable makes an unknown name fit for an error: names that aren't plain words are quoted.
func readable(name string) string {
	plain := name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
	if cut := short(name); !plain || len(cut) < len(name) {
		return fmt.Sprintf("%+q", cut)
	}
	return name
}

// short cuts a name that is too long for an error.
func short[T ~string | ~[]byte](name T) T { return name[:min(len(name), longestName)] }
