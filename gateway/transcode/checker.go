package transcode

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/errs"
	"micromesh/pkg/nearest"
)

const (
	mostUnknown = 20 // mistakes of one request; also the most known names that an error lists
	longestName = 64 // bytes of an unknown name in an error
)

// Unknown checks that a request of version 2 has no field that its message doesn't have, at any depth. It checks the body where the
// binding takes one, else the query. Input that can't be read is left to [Binding.Message], which names the reason.
//
// Errors: Invalid, with each unknown field and the nearest known one.
func (n *Binding) Unknown(body []byte, query string) error {
	if n.HasBody {
		query = ""
	} else {
		body = nil
	}
	return n.UnknownIn(body, query)
}

// UnknownIn is Unknown for calls whose message comes from body and query alike: see [Binding.Merge].
func (n *Binding) UnknownIn(body []byte, query string) error {
	if n.Desc == nil || n.query == nil {
		return nil
	}
	c := checker{walker: walker{b: body}, strict: true}
	c.message(n)
	c.parameters(query, n)
	return c.err()
}

// checker finds what is wrong with the members of a request: names that are there twice, values that an enumeration doesn't have, and, if it is
// strict, fields that a message doesn't have. What is no JSON, or of another type, is left to decoders.
type checker struct {
	walker
	strict bool
	place  []byte // of the value in the message, for errors
	wrong  []errs.Detail
}

func (c *checker) err() error {
	if len(c.wrong) == 0 {
		return nil
	}
	texts := make([]string, len(c.wrong))
	for i, d := range c.wrong {
		texts[i] = d.Field + " " + d.Message
	}
	return errs.New(errs.Invalid, "", "%s", strings.Join(texts, "; ")).With(c.wrong...)
}

// add notes a mistake at a step from the present place: see within.
func (c *checker) add(step, rule, msg string) {
	if len(c.wrong) < mostUnknown {
		c.wrong = append(c.wrong, errs.Detail{Field: strings.TrimPrefix(string(c.place)+step, "."), Rule: rule, Message: msg})
	}
}

// within checks what is at a place within the present one: ".name", "[1]" or `["key"]`.
func (c *checker) within(step string, check func()) {
	before := len(c.place)
	c.place = append(c.place, step...)
	check()
	c.place = c.place[:before]
}

// message checks the message of a binding.
func (c *checker) message(n *Binding) {
	if n.Desc == nil {
		c.free()
		return
	}
	c.value(n.Desc.Input())
}

func (c *checker) parameters(query string, n *Binding) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, known, _ := n.parameter(name); !known {
			c.parameter(name, n.query)
		}
	}
}

// parameter notes a parameter that names no field: its beginning may name a message.
func (c *checker) parameter(name string, of fields) {
	head, tail, dot := strings.Cut(name, ".")
	if f, ok := of.find(head); dot && ok && f.of != nil {
		c.within("."+f.json, func() { c.parameter(tail, f.of) })
		return
	}
	c.unknown(name, of)
}

// value checks a message, or a list of them. Messages of google.protobuf have special forms, and take any field.
func (c *checker) value(d protoreflect.MessageDescriptor) {
	if strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		c.free()
		return
	}
	switch c.peek() {
	case '{':
		var seen memberNames
		c.members(func(quoted []byte) {
			name := unquote(quoted)
			fd := fieldNamed(d, name)
			if fd != nil {
				name = fd.JSONName()
			}
			c.once(&seen, name)
			if fd != nil {
				c.member(fd)
				return
			}
			if c.strict {
				c.unknown(name, messageFields{d})
			}
			c.below(name)
		})
	case '[':
		c.list(func() { c.value(d) })
	default:
		c.skip()
	}
}

// once notes a name that is there already.
func (c *checker) once(seen *memberNames, name string) {
	if !seen.add(name) {
		c.add("."+readable(name), "duplicate", "is there twice: send it once")
	}
}

// list checks the elements of a list.
func (c *checker) list(element func()) {
	i := -1
	c.elements(func() {
		i++
		c.within("["+strconv.Itoa(i)+"]", element)
	})
}

// member checks the value of a field.
func (c *checker) member(fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		c.within("."+fd.JSONName(), func() { c.entries(fd.MapValue()) })
	case fd.Message() != nil || fd.Enum() != nil:
		c.within("."+fd.JSONName(), func() { c.one(fd) })
	default:
		c.skip()
	}
}

// entries checks a map.
func (c *checker) entries(value protoreflect.FieldDescriptor) {
	if c.peek() != '{' {
		c.skip()
		return
	}
	var seen memberNames
	c.members(func(quoted []byte) {
		c.within("["+string(short(quoted))+"]", func() {
			if !seen.add(unquote(quoted)) {
				c.add("", "duplicate", "is there twice: send it once")
			}
			c.one(value)
		})
	})
}

// one checks a value of a field, or a list of them.
func (c *checker) one(fd protoreflect.FieldDescriptor) {
	switch {
	case fd.Message() != nil:
		c.value(fd.Message())
	case fd.Enum() == nil:
		c.skip()
	case c.peek() == '[':
		c.list(func() { c.enum(fd.Enum()) })
	default:
		c.enum(fd.Enum())
	}
}

// enum checks a value of an enumeration: a name, or a number that it has.
func (c *checker) enum(e protoreflect.EnumDescriptor) {
	first := c.peek()
	start := c.at
	c.skip()
	if c.bad || strings.IndexByte("{[tfn", first) >= 0 {
		return
	}
	text := string(c.b[start:c.at])
	if first == '"' {
		text = unquote(c.b[start:c.at])
		if e.Values().ByName(protoreflect.Name(text)) != nil {
			return
		}
	} else if x, err := strconv.ParseFloat(text, 64); err != nil || x == math.Trunc(x) && math.Abs(x) < 1<<31 && e.Values().ByNumber(protoreflect.EnumNumber(x)) != nil {
		return
	}
	c.add("", "enum", notInEnum(text, e))
}

// free checks a value of which nothing is known.
func (c *checker) free() {
	switch c.peek() {
	case '{':
		var seen memberNames
		c.members(func(quoted []byte) {
			name := unquote(quoted)
			c.once(&seen, name)
			c.below(name)
		})
	case '[':
		c.list(c.free)
	default:
		c.skip()
	}
}

// below checks the value of a member of which nothing is known.
func (c *checker) below(name string) {
	if next := c.peek(); next == '{' || next == '[' {
		c.within("."+readable(name), c.free)
		return
	}
	c.skip()
}

// memberNames are those of an object's members so far.
type memberNames struct {
	few  []string
	many map[string]bool
}

// add adds a name, and reports whether it is new.
func (n *memberNames) add(name string) bool {
	const most = 16 // compared one by one
	switch {
	case n.many[name] || slices.Contains(n.few, name):
		return false
	case n.many != nil:
		n.many[name] = true
	case len(n.few) < most:
		n.few = append(n.few, name)
	default:
		n.many = map[string]bool{name: true}
	}
	return true
}

// unknown notes a name that no field has.
func (c *checker) unknown(name string, of fields) {
	msg := "is no field of " + of.title()
	known := of.names()
	best := nearest.Name(name, known)
	switch {
	case best != "":
		msg += ": did you mean " + best + "?"
	case len(known) == 0:
		msg += ", which has none"
	case len(known) <= mostUnknown:
		msg += ": it has " + strings.Join(known, ", ")
	}
	c.add("."+readable(name), "unknown", msg)
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
