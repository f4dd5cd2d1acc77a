// Package schema is what services tell of themselves: the descriptors of their messages and methods, as one serialized
// google.protobuf.FileDescriptorSet that lies in the bucket [kv.Schemas] under its own hash.
//
// Whoever publishes names the hash where the schema is needed: in an event's header, or in the metadata of a service's
// node in discovery. So a reader needs to trust only who named the hash: [Open] refuses a content that has another one,
// and everybody may write to the bucket.
package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/pkg/schema/source"
)

// MaxSize is the largest schema in bytes. A hundred methods with their messages and comments take a tenth of it.
const MaxSize = 1 << 20

// Metadata of a node in discovery.
const (
	NodeHash  = "schema"       // of the schema of the methods that the node serves
	NodeSince = "schema-since" // when the node began to serve them, in milliseconds since 1970: the newest node's schema counts
)

// ErrContent says that a schema is not what its hash says, or is none at all.
var ErrContent = errors.New("the schema is not what its hash says")

// Schema is a set of descriptors with its hash.
type Schema struct {
	Hash string // of Set: 32 hexadecimal digits
	Set  []byte // a serialized google.protobuf.FileDescriptorSet
}

// Pack makes the schema of files and of all that they import, with their comments and lines where these are known (see
// package source); the same files always give the same schema. Files that are only imported are without their services, so
// that each service in the set is one that is served.
//
// Errors: one for what is larger than [MaxSize].
func Pack(files ...protoreflect.FileDescriptor) (Schema, error) {
	served := map[string]bool{}
	for _, f := range files {
		served[f.Path()] = true
	}
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	for _, f := range files {
		collect(f, served, seen, set)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return Schema{}, fmt.Errorf("encode schema: %w", err)
	}
	if len(b) > MaxSize {
		return Schema{}, fmt.Errorf("the descriptors have %d bytes; a schema has at most %d", len(b), MaxSize)
	}
	return Schema{Hash: Hash(b), Set: b}, nil
}

// collect adds a file after the files that it imports.
func collect(f protoreflect.FileDescriptor, served, seen map[string]bool, set *descriptorpb.FileDescriptorSet) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		collect(f.Imports().Get(i).FileDescriptor, served, seen, set)
	}
	d := source.Describe(f)
	if !served[f.Path()] {
		d.Service = nil
	}
	set.File = append(set.File, d)
}

// Hash is the hash of a serialized set.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// IsHash tells whether a text could be the hash of a schema.
func IsHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16 && hex.EncodeToString(b) == s
}

// Open checks that a schema is what its hash says, and gives its files, each after those that it imports. It can come from
// anywhere: what is wrong in it is an error.
//
// Errors: [ErrContent] where the content is another one, which may be mended; others are for ever.
func Open(s Schema) (files []protoreflect.FileDescriptor, err error) {
	if len(s.Set) > MaxSize {
		return nil, fmt.Errorf("%w: it has %d bytes, and at most %d are allowed", ErrContent, len(s.Set), MaxSize)
	}
	if Hash(s.Set) != s.Hash {
		return nil, ErrContent
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(s.Set, &set); err != nil {
		return nil, errors.New("the schema is no set of descriptors")
	}
	// The linker is made for what a compiler wrote. Here others may have.
	defer func() {
		if p := recover(); p != nil {
			files, err = nil, fmt.Errorf("link schema: %v", p)
		}
	}()
	linked, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("link schema: %w", err)
	}
	for _, d := range set.File {
		f, err := linked.FindFileByPath(d.GetName())
		if err != nil {
			return nil, fmt.Errorf("link schema: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}
