// Package source keeps what protoc-gen-go leaves out of the code that it makes from a .proto file: the comments, and the lines on
// which things stand. Code that `micro gen` makes brings them, as a google.protobuf.SourceCodeInfo, and registers them as it
// registers its descriptor. So a service that runs can be described in its author's words, and a mistake in it named by its line.
package source

import (
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

var (
	infos     sync.Map // serialized google.protobuf.SourceCodeInfo of files that are linked in, by their path
	described sync.Map // *protoregistry.Files with one file and its info, by its path
)

// Register keeps the serialized google.protobuf.SourceCodeInfo of a file that is linked in, by its path as imports name it.
// Generated code calls it while its package is initialized.
func Register(path, info string) bool {
	_, there := infos.LoadOrStore(path, info)
	return !there
}

// Trim leaves of a file's info what a reader of its descriptors can use: where messages, enumerations, services and what is in
// them stand, and the comments before and behind them.
func Trim(info *descriptorpb.SourceCodeInfo) *descriptorpb.SourceCodeInfo {
	out := &descriptorpb.SourceCodeInfo{}
	for _, l := range info.GetLocation() {
		if !declares(l.GetPath()) {
			continue
		}
		out.Location = append(out.Location, &descriptorpb.SourceCodeInfo_Location{
			Path: l.GetPath(), Span: l.GetSpan(), LeadingComments: l.LeadingComments, TrailingComments: l.TrailingComments,
		})
	}
	return out
}

// declares tells whether a path in a file leads to a declaration: pairs of a field's number in descriptor.proto and an index.
func declares(path []int32) bool {
	at := file
	for ; len(path) >= 2; path = path[2:] {
		next, ok := parts[at][path[0]]
		if !ok {
			return false
		}
		at = next
	}
	return len(path) == 0 && at != file
}

type part int

const (
	file part = iota
	message
	enum
	service
	leaf // a field, a oneof, a value, a method
)

// parts are what is in what, by the number of the field of descriptor.proto that holds it.
var parts = map[part]map[int32]part{
	file:    {4: message, 5: enum, 6: service},
	message: {2: leaf, 3: message, 4: enum, 8: leaf},
	enum:    {2: leaf},
	service: {2: leaf},
}

// Describe is the descriptor of a file, with what is known of its source.
func Describe(f protoreflect.FileDescriptor) *descriptorpb.FileDescriptorProto {
	d := protodesc.ToFileDescriptorProto(f)
	text, ok := infos.Load(f.Path())
	if d.SourceCodeInfo != nil || !ok || !linked(f) {
		return d
	}
	info := &descriptorpb.SourceCodeInfo{}
	if proto.Unmarshal([]byte(text.(string)), info) == nil { // else it is as if there were none
		d.SourceCodeInfo = info
	}
	return d
}

// linked tells whether a file is the one that is linked in under its path, and not another's that has the same.
func linked(f protoreflect.FileDescriptor) bool {
	own, err := protoregistry.GlobalFiles.FindFileByPath(f.Path())
	return err == nil && own == f
}

// Location is where in its source something stands, and the comments there. It is the zero value where that is not known.
func Location(d protoreflect.Descriptor) protoreflect.SourceLocation {
	f := d.ParentFile()
	if f.SourceLocations().Len() > 0 || !linked(f) {
		return f.SourceLocations().ByDescriptor(d)
	}
	one, ok := described.Load(f.Path())
	if !ok {
		one, _ = described.LoadOrStore(f.Path(), withInfo(f))
	}
	found, err := one.(*protoregistry.Files).FindDescriptorByName(d.FullName())
	if err != nil {
		return protoreflect.SourceLocation{}
	}
	return found.ParentFile().SourceLocations().ByDescriptor(found)
}

// withInfo is a file that is linked in once more, with its info. It is empty where there is none.
func withInfo(f protoreflect.FileDescriptor) *protoregistry.Files {
	files := new(protoregistry.Files)
	d := Describe(f)
	if d.SourceCodeInfo == nil {
		return files
	}
	if again, err := protodesc.NewFile(d, protoregistry.GlobalFiles); err == nil {
		_ = files.RegisterFile(again) // the first in it clashes with nothing
	}
	return files
}
