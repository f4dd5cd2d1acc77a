package server

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/errs"
	"micromesh/pkg/ident"
	"micromesh/pkg/meshpb"
)

// Bounds of fields that name none. They keep a single field from filling a database or a log.
const (
	defaultChars = 1024 // of a text
	defaultItems = 1000
)

// rules are the compiled rules of one message type. Types of google.protobuf have none: their handlers check them.
type rules struct {
	fields   map[protoreflect.FieldNumber]*fieldRules
	required []*fieldRules
}

type fieldRules struct {
	desc     protoreflect.FieldDescriptor
	maxChars int // Unicode code points, as JSON Schema's maxLength
	maxItems int
	oneOf    []string
	format   meshpb.Format
	nested   *rules // of a message, or of a list's or map's messages
}

// compiler remembers types, since they may refer to each other.
type compiler map[protoreflect.FullName]*rules

func (c compiler) rules(d protoreflect.MessageDescriptor) *rules {
	if r, ok := c[d.FullName()]; ok {
		return r
	}
	r := &rules{fields: map[protoreflect.FieldNumber]*fieldRules{}}
	c[d.FullName()] = r
	if strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return r
	}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		opt, _ := proto.GetExtension(fd.Options(), meshpb.E_Rules).(*meshpb.Rules)
		f := &fieldRules{desc: fd, maxChars: defaultChars, maxItems: defaultItems, oneOf: opt.GetOneOf(), format: opt.GetFormat()}
		if n := opt.GetMaxBytes(); n > 0 {
			f.maxChars = int(n)
		}
		if n := opt.GetMaxItems(); n > 0 {
			f.maxItems = int(n)
		}
		value := fd
		if fd.IsMap() {
			value = fd.MapValue()
		}
		if value.Message() != nil {
			f.nested = c.rules(value.Message())
		}
		r.fields[fd.Number()] = f
		if opt.GetRequired() {
			r.required = append(r.required, f)
		}
	}
	return r
}

// check gives one Invalid error that names everything that is wrong with a message, or nil.
func (r *rules) check(m protoreflect.Message) error {
	var wrong []errs.Detail
	r.collect("", m, &wrong)
	if len(wrong) == 0 {
		return nil
	}
	msgs := make([]string, 0, 3)
	for i, d := range wrong {
		if i == 3 {
			msgs = append(msgs, fmt.Sprintf("and %d more", len(wrong)-i))
			break
		}
		msgs = append(msgs, d.Field+" "+d.Message)
	}
	kind := errs.Invalid
	if len(wrong) == 1 && wrong[0].Rule == "max_total" {
		kind = errs.TooLarge
	}
	return errs.New(kind, "", "%s", strings.Join(msgs, "; ")).With(wrong...)
}

const maxWrong = 20 // of one message: more tell nobody more

func (r *rules) collect(path string, m protoreflect.Message, wrong *[]errs.Detail) {
	for _, f := range r.required {
		if !m.Has(f.desc) {
			add(wrong, path+f.desc.JSONName(), "required", "is required")
		}
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		f := r.fields[fd.Number()]
		if f == nil {
			return true
		}
		f.collect(path+fd.JSONName(), v, wrong)
		return len(*wrong) < maxWrong
	})
}

func (f *fieldRules) collect(name string, v protoreflect.Value, wrong *[]errs.Detail) {
	switch {
	case f.desc.IsList():
		list := v.List()
		if list.Len() > f.maxItems {
			add(wrong, name, "max_items", fmt.Sprintf("has %d entries; at most %d are allowed", list.Len(), f.maxItems))
			return
		}
		for i := range list.Len() {
			f.value(fmt.Sprintf("%s[%d]", name, i), f.desc, list.Get(i), wrong)
		}
	case f.desc.IsMap():
		f.entries(name, v.Map(), wrong)
	default:
		f.value(name, f.desc, v, wrong)
	}
}

// entries checks a map: the number of its entries, each of them, and the size of all together.
func (f *fieldRules) entries(name string, m protoreflect.Map, wrong *[]errs.Detail) {
	if m.Len() > f.maxItems {
		add(wrong, name, "max_items", fmt.Sprintf("has %d entries; at most %d are allowed", m.Len(), f.maxItems))
		return
	}
	total := 0
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		total += len(k.String())
		if f.desc.MapValue().Kind() == protoreflect.StringKind {
			total += len(v.String())
		}
		return true
	})
	if limit := max(f.maxChars, defaultChars*16); total > limit {
		add(wrong, name, "max_total", fmt.Sprintf("has %d bytes in all; at most %d are allowed", total, limit))
		return
	}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		f.key(name, k.String(), wrong)
		f.value(name+"."+k.String(), f.desc.MapValue(), v, wrong)
		return len(*wrong) < maxWrong
	})
}

// key checks the key of a map: a line of text.
func (f *fieldRules) key(name, key string, wrong *[]errs.Detail) {
	if f.desc.MapKey().Kind() != protoreflect.StringKind || f.format == meshpb.Format_FORMAT_UNSPECIFIED {
		return
	}
	if err := ident.Text(key); err != nil {
		add(wrong, name, "key", "has a key that "+err.Error())
	}
}

func (f *fieldRules) value(name string, fd protoreflect.FieldDescriptor, v protoreflect.Value, wrong *[]errs.Detail) {
	switch fd.Kind() { //nolint:exhaustive // other kinds have no rules
	case protoreflect.StringKind:
		s := v.String()
		switch {
		case len(s) > f.maxChars && utf8.RuneCountInString(s) > f.maxChars:
			add(wrong, name, "max_bytes", fmt.Sprintf("has %d characters; at most %d are allowed", utf8.RuneCountInString(s), f.maxChars))
		case strings.ContainsRune(s, 0):
			add(wrong, name, "no_nul", "must not hold the NUL character")
		case len(f.oneOf) > 0 && s != "" && !slices.Contains(f.oneOf, s):
			add(wrong, name, "one_of", "must be one of "+strings.Join(f.oneOf, ", "))
		case s != "":
			if err := checkFormat(f.format, s); err != nil {
				add(wrong, name, ruleOf(f.format), err.Error())
			}
		}
	case protoreflect.MessageKind:
		if f.nested != nil {
			f.nested.collect(name+".", v.Message(), wrong)
		}
	}
}

func add(wrong *[]errs.Detail, field, rule, msg string) {
	if len(*wrong) < maxWrong {
		*wrong = append(*wrong, errs.Detail{Field: field, Rule: rule, Message: msg})
	}
}
