// Package events carries what has happened from a service's database to everybody who wants to know: protobuf on one
// JetStream stream, under the subject "events.<topic>".
//
// A service writes an event into its outbox in the transaction that makes it true (sqldb's Enqueue); a [Relay]
// publishes it from there until the stream has acknowledged it, with its id as Nats-Msg-Id, so that it is in the
// stream once. Events travel with CloudEvents headers (https://github.com/cloudevents/spec, NATS protocol binding) and
// the hash of their schema, which lies in the bucket [kv.Schemas]: so whoever reads them ([Tail]) can name the type and
// every field without having been built with them.
//
// Each event is signed by its publisher ([Signer]), and whoever reads it believes the owner of its topic alone
// ([Verifier], [Owner]).
package events

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/pkg/sqldb"
)

// Stream is the JetStream stream of all events.
const Stream = "events"

// Subject is the subject of a topic's events.
func Subject(topic string) string { return "events." + topic }

// Headers of an event's message.
const (
	headerSpec    = "ce-specversion"
	headerID      = "ce-id"
	headerSource  = "ce-source"
	headerType    = "ce-type"
	headerSubject = "ce-subject"
	headerTime    = "ce-time"
	headerContent = "ce-datacontenttype"
	headerSchema  = "ce-dataschema"

	headerSignature = "ce-signature" // "<id of the key>.<signature, base64url>"

	specVersion = "1.0"
	contentType = "application/protobuf"
	typePrefix  = "micromesh."
)

// Schema is a topic with the descriptors of its events.
type Schema struct {
	Topic string
	Hash  string // of Set
	Set   []byte // a serialized google.protobuf.FileDescriptorSet
}

// NewSchema makes the schema of a topic from the file that declares its messages: one of them must be called Event.
func NewSchema(topic string, file protoreflect.FileDescriptor) (Schema, error) {
	if file.Messages().ByName("Event") == nil {
		return Schema{}, fmt.Errorf("schema of %s: %s declares no message Event", topic, file.Path())
	}
	set := &descriptorpb.FileDescriptorSet{}
	collect(file, map[string]bool{}, set)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return Schema{}, fmt.Errorf("schema of %s: %w", topic, err)
	}
	return Schema{Topic: topic, Hash: hash(b), Set: b}, nil
}

const hashSize = 32 // characters

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// collect adds a file after the files that it imports.
func collect(f protoreflect.FileDescriptor, seen map[string]bool, set *descriptorpb.FileDescriptorSet) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		collect(f.Imports().Get(i).FileDescriptor, seen, set)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
}

const maxSchema = 1 << 20 // bytes

// event finds the message Event of a serialized schema, after checking that the schema is what its hash says.
func event(want string, b []byte) (protoreflect.MessageDescriptor, error) {
	if len(b) > maxSchema || hash(b) != want {
		return nil, errors.New("the schema is not what its hash says")
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("link schema: %w", err)
	}
	var found protoreflect.MessageDescriptor
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if f.Path() == set.File[len(set.File)-1].GetName() {
			found = f.Messages().ByName("Event")
		}
		return found == nil
	})
	if found == nil {
		return nil, errors.New("the schema declares no message Event")
	}
	return found, nil
}

// TypeName is the CloudEvents type of an event: "micromesh.accounts.ACCOUNT_REGISTERED". It is made of the topic and
// the value of the message's field "type".
func TypeName(topic string, m proto.Message) string {
	r := m.ProtoReflect()
	fd := r.Descriptor().Fields().ByName("type")
	if fd == nil || fd.Enum() == nil {
		return typePrefix + topic
	}
	return typePrefix + topic + "." + enumName(fd.Enum(), r.Get(fd).Enum())
}

func enumName(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := e.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	const prefix = "EVENT_TYPE_"
	name := string(v.Name())
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):]
	}
	return name
}

// NewMessage makes the outbox's message of an event that has just happened: with an id of its own.
func NewMessage(topic, key string, at time.Time, event proto.Message) (sqldb.Message, error) {
	b, err := proto.Marshal(event)
	if err != nil {
		return sqldb.Message{}, fmt.Errorf("encode event: %w", err)
	}
	return sqldb.Message{ID: rand.Text(), Topic: topic, Key: key, Type: TypeName(topic, event), Payload: b, Time: at}, nil
}
