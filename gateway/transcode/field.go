package transcode

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// form says how a text becomes a JSON value.
type form uint8

const (
	formText form = iota
	formBool
	formInt
	formUint
	formFloat
	formBytes
	formEnum
	formTime
	formDuration
	formMask
	formLiteral     // a number, true or false, as it is written
	formQuoted      // the same, in a text
	formNanoseconds // a time.Duration
	formMessage     // its fields are named with dots
	formMap         // no text is one
	formFree        // any JSON, which no text is
)

// field of a request message, as a path or a query can name it.
type field struct {
	json string
	form form
	bits int // of a number
	list bool
	enum protoreflect.EnumDescriptor
	of   fields // of a message

	oneof string // that it belongs to
}

// scalar reports whether one text is one value of the field.
func (f field) scalar() bool { return f.form < formMessage && !f.list }

// mapped reports whether a query can set the field.
func (f field) mapped() bool { return f.form < formMessage }

// fields are those of a message.
type fields interface {
	// find returns the field of a name: that in JSON, or another that stands for it.
	find(name string) (field, bool)
	// names are those in JSON.
	names() []string
	// title is the name of the message.
	title() string
}

// messageFields are those of a message in a schema. They are found by the names in JSON and in the .proto file.
type messageFields struct {
	d protoreflect.MessageDescriptor
}

var _ fields = messageFields{}

func (m messageFields) find(name string) (field, bool) {
	fd := fieldNamed(m.d, name)
	if fd == nil {
		return field{}, false
	}
	return fieldOf(fd), true
}

func (m messageFields) names() []string {
	out := make([]string, m.d.Fields().Len())
	for i := range out {
		out[i] = m.d.Fields().Get(i).JSONName()
	}
	return out
}

func (m messageFields) title() string { return string(m.d.Name()) }

// fieldNamed returns the field of a name in JSON or in the .proto file, or nil.
func fieldNamed(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := d.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return d.Fields().ByName(protoreflect.Name(name))
}

// fieldsOf returns the fields of a message; nil for google.protobuf.Struct, which takes any.
func fieldsOf(d protoreflect.MessageDescriptor) fields {
	if d.FullName() == "google.protobuf.Struct" {
		return nil
	}
	return messageFields{d}
}

func fieldOf(fd protoreflect.FieldDescriptor) field {
	f := field{json: fd.JSONName(), list: fd.IsList()}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = string(o.Name())
	}
	switch fd.Kind() { //nolint:exhaustive // the others are texts
	case protoreflect.BoolKind:
		f.form = formBool
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		f.form, f.bits = formInt, 32
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		f.form, f.bits = formInt, 64
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		f.form, f.bits = formUint, 32
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		f.form, f.bits = formUint, 64
	case protoreflect.FloatKind:
		f.form, f.bits = formFloat, 32
	case protoreflect.DoubleKind:
		f.form, f.bits = formFloat, 64
	case protoreflect.BytesKind:
		f.form = formBytes
	case protoreflect.EnumKind:
		f.form, f.enum = formEnum, fd.Enum()
	case protoreflect.MessageKind, protoreflect.GroupKind:
		f.message(fd.Message())
	}
	if fd.IsMap() {
		f.form, f.of = formMap, nil
	}
	return f
}

// message sets the form of a field that is a message. Those of google.protobuf have special forms (ProtoJSON).
func (f *field) message(d protoreflect.MessageDescriptor) {
	name, known := strings.CutPrefix(string(d.FullName()), "google.protobuf.")
	f.form, f.of = formMessage, messageFields{d}
	if !known {
		return
	}
	switch name {
	case "Timestamp":
		f.form = formTime
	case "Duration":
		f.form = formDuration
	case "FieldMask":
		f.form = formMask
	case "Struct", "Value", "ListValue", "Any":
		f.form = formFree
	default:
		value := d.Fields().ByNumber(1)
		if !strings.HasSuffix(name, "Value") || value == nil || value.Message() != nil || value.IsList() {
			return
		}
		inner := fieldOf(value) // of a wrapper such as Int64Value
		inner.json, inner.list, inner.oneof = f.json, f.list, f.oneof
		*f = inner
	}
}
