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
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/schema"
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
	s, err := schema.Pack(file)
	if err != nil {
		return Schema{}, fmt.Errorf("schema of %s: %w", topic, err)
	}
	return Schema{Topic: topic, Hash: s.Hash, Set: s.Set}, nil
}

const hashSize = 32 // characters of a key's id

// event finds the message Event in the last file of a schema, after those that it imports.
func event(s schema.Schema) (protoreflect.MessageDescriptor, error) {
	files, err := schema.Open(s)
	if err != nil {
		return nil, err
	}
	if len(files) > 0 {
		if m := files[len(files)-1].Messages().ByName("Event"); m != nil {
			return m, nil
		}
	}
	return nil, errors.New("the schema declares no message Event")
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
