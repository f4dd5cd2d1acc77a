package source

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// MistakeError is something that is wrong in a .proto file.
type MistakeError struct {
	File   string                // its path, as imports name it
	Line   int                   // where the method begins, from 1; 0 where its descriptor doesn't tell
	Method protoreflect.FullName // empty for what is wrong with the whole file
	Err    error
}

// Wrong says what is wrong with a method.
func Wrong(m protoreflect.MethodDescriptor, err error) *MistakeError {
	out := &MistakeError{File: m.ParentFile().Path(), Method: m.FullName(), Err: err}
	if l := Location(m); l.Path != nil {
		out.Line = l.StartLine + 1
	}
	return out
}

// Error says it in the form of a compiler: "shop/v1/shop.proto:12: shop.v1.Shop.Get: …".
func (m *MistakeError) Error() string {
	at := m.File
	if m.Line > 0 {
		at = fmt.Sprintf("%s:%d", m.File, m.Line)
	}
	if m.Method != "" {
		at += ": " + string(m.Method)
	}
	return at + ": " + m.Err.Error()
}

// Unwrap gives what is wrong, without where.
func (m *MistakeError) Unwrap() error { return m.Err }
