package transcode

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/meshpb"
)

// newer lists the fields that later versions of the API have added to a message.
type newer struct {
	gone    map[string]bool   // fields of later versions
	within  map[string]*newer // fields with messages that have such fields, at any depth
	maps    map[string]bool   // those of within that are maps
	users   []*newer          // messages that have this one
	differs bool              // whether it or a message within has a field of a later version
}

// versions compiles message types once each, since many methods share them and they may refer to each other.
type versions map[protoreflect.FullName]*newer

// compile notes for each binding how its answers differ between versions.
func (v versions) compile(b *Bindings) {
	for _, list := range b.byService {
		for _, n := range list {
			v.add(n.Desc.Output())
		}
	}
	for _, one := range v {
		if len(one.gone) > 0 {
			one.mark()
		}
	}
	for _, one := range v {
		for field, to := range one.within {
			if !to.differs {
				delete(one.within, field)
			}
		}
	}
	for _, list := range b.byService {
		for _, n := range list {
			if one := v[n.Desc.Output().FullName()]; one != nil && one.differs {
				n.newer = one
			}
		}
	}
}

// add compiles a message type and those that it refers to. Types of google.protobuf have special forms in JSON, without such fields.
func (v versions) add(d protoreflect.MessageDescriptor) *newer {
	if one, ok := v[d.FullName()]; ok {
		return one
	}
	one := &newer{gone: map[string]bool{}, within: map[string]*newer{}, maps: map[string]bool{}}
	v[d.FullName()] = one
	if strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return one
	}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		if since(fd) > 1 {
			one.gone[fd.JSONName()] = true
			continue
		}
		if m := messageOf(fd); m != nil {
			to := v.add(m)
			to.users = append(to.users, one)
			one.within[fd.JSONName()], one.maps[fd.JSONName()] = to, fd.IsMap()
		}
	}
	return one
}

// mark notes that a message differs, and each that has it.
func (one *newer) mark() {
	for todo := []*newer{one}; len(todo) > 0; todo = todo[1:] {
		if !todo[0].differs {
			todo[0].differs = true
			todo = append(todo, todo[0].users...)
		}
	}
}

// since is the first version of the API that has a field.
func since(fd protoreflect.FieldDescriptor) int32 {
	n, _ := proto.GetExtension(fd.Options(), meshpb.E_Since).(int32)
	return max(n, 1)
}

// messageOf is the message of a field, of a list's elements or of a map's values; nil for other fields.
func messageOf(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	return fd.Message()
}

// Differs reports whether answers to callers of version 1 lack fields that those of version 2 have.
func (n *Binding) Differs() bool { return n.newer != nil }

// Older returns an answer as callers of version 1 know it: without the fields that later versions have added. An answer that is no JSON
// is returned as it is.
func (n *Binding) Older(answer []byte) []byte {
	if n.newer == nil {
		return answer
	}
	p := pruner{walker: walker{b: answer}, out: make([]byte, 0, len(answer))}
	p.message(n.newer)
	if p.bad {
		return answer
	}
	return p.out
}

// pruner copies JSON without the fields of later versions.
type pruner struct {
	walker
	out []byte
}

// copied copies what f skips.
func (p *pruner) copied(f func()) {
	p.peek()
	start := p.at
	f()
	p.out = append(p.out, p.b[start:p.at]...)
}

// message copies a message, or a list of them.
func (p *pruner) message(n *newer) {
	switch p.peek() {
	case '{':
		p.object(func(name string) (keep bool, value func()) {
			to := n.within[name]
			switch {
			case n.gone[name]:
				return false, p.skip
			case to == nil:
				return true, p.plain
			case n.maps[name]:
				return true, func() { p.each(to) }
			}
			return true, func() { p.message(to) }
		})
	case '[':
		p.out = append(p.out, '[')
		before := len(p.out)
		p.elements(func() {
			p.comma(before)
			p.message(n)
		})
		p.out = append(p.out, ']')
	default:
		p.plain()
	}
}

// each copies a map of messages.
func (p *pruner) each(n *newer) {
	if p.peek() != '{' {
		p.plain()
		return
	}
	p.object(func(string) (bool, func()) { return true, func() { p.message(n) } })
}

func (p *pruner) plain() { p.copied(p.skip) }

// object copies the members of an object that way keeps, each with its value as way copies it.
func (p *pruner) object(way func(name string) (keep bool, value func())) {
	p.out = append(p.out, '{')
	before := len(p.out)
	p.members(func(name []byte) {
		keep, value := way(unquote(name))
		if keep {
			p.comma(before)
			p.out = append(append(p.out, name...), ':')
		}
		value()
	})
	p.out = append(p.out, '}')
}

// comma writes a comma if anything was written since before.
func (p *pruner) comma(before int) {
	if len(p.out) > before {
		p.out = append(p.out, ',')
	}
}

// unquote returns the text of a JSON string, or "" for other bytes.
func unquote(quoted []byte) (s string) {
	if n := len(quoted); n >= 2 && bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted) {
		return string(quoted[1 : n-1])
	}
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}
