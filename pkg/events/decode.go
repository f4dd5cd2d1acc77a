package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"micromesh/pkg/kv"
	"micromesh/pkg/schema"
)

// maxEvent is how many bytes of an event are decoded: in memory it takes many times as much.
const maxEvent = 1 << 20

// problemError says what is wrong with an event of the right publisher, for good.
type problemError struct{ error }

func problem(format string, args ...any) error { return &problemError{fmt.Errorf(format, args...)} }

// Decode gives the data of an event as JSON, without asking whose it is: whoever acts on it needs [Verifier.Check].
//
// Errors: what is wrong with the event for good, or for now.
func (v *Verifier) Decode(ctx context.Context, m jetstream.Msg) (json.RawMessage, error) {
	return v.decode(ctx, m)
}

// decode decodes an event by the schema that its header names.
//
// Errors: *problemError; any other is for now.
func (v *Verifier) decode(ctx context.Context, m jetstream.Msg) (json.RawMessage, error) {
	h := m.Headers()
	switch {
	case h.Get(headerSpec) != specVersion:
		return nil, problem("the event is of version %q of CloudEvents; %s is known", h.Get(headerSpec), specVersion)
	case h.Get(headerContent) != contentType:
		return nil, problem("the event is %q; %s is known", h.Get(headerContent), contentType)
	case len(m.Data()) > maxEvent:
		return nil, problem("the event has %d bytes; %d are decoded", len(m.Data()), maxEvent)
	}
	desc, err := v.schema(ctx, h.Get(headerSchema))
	if err != nil {
		return nil, err
	}
	var data json.RawMessage
	v.turn(func() { data, err = decoded(m.Data(), desc) })
	return data, err
}

func decoded(data []byte, desc protoreflect.MessageDescriptor) (json.RawMessage, error) {
	msg := dynamicpb.NewMessage(desc)
	if err := proto.Unmarshal(data, msg); err != nil {
		return nil, problem("the event is not what its schema says")
	}
	if err := known(msg); err != nil {
		return nil, err
	}
	out, err := protojson.Marshal(msg)
	if err != nil {
		return nil, problem("write event as JSON: %w", err)
	}
	return out, nil
}

// known fails where a message has a field, or the value of an enum, that its schema doesn't have: it was made with another.
func known(m protoreflect.Message) (err error) {
	if len(m.GetUnknown()) > 0 {
		return problem("%s has a field that its schema doesn't have", m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
				err = knownValue(f.MapValue(), e)
				return err == nil
			})
		case f.IsList():
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = knownValue(f, v.List().Get(i))
			}
		default:
			err = knownValue(f, v)
		}
		return err == nil
	})
	return err
}

func knownValue(f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	if f.Message() != nil {
		return known(v.Message())
	}
	if e := f.Enum(); e != nil && e.Values().ByNumber(v.Enum()) == nil {
		return problem("%s is %d, which its schema doesn't have", f.FullName(), v.Enum())
	}
	return nil
}

// schema gives the message of a schema by its hash.
func (v *Verifier) schema(ctx context.Context, h string) (protoreflect.MessageDescriptor, error) {
	if h == "" {
		return nil, problem("the event names no schema")
	}
	v.mu.Lock()
	desc, ok := v.schemas[h]
	v.mu.Unlock()
	if ok {
		return desc, nil
	}
	value, err := v.lookup(ctx, kv.Schemas, h)
	if errors.Is(err, errMissing) {
		return nil, problem("the schema that the event names is not there")
	}
	if err != nil {
		return nil, err
	}
	if desc, err = event(schema.Schema{Hash: h, Set: value}); err != nil {
		return nil, problem("%w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.schemas) >= maxSchemas {
		clear(v.schemas)
	}
	v.schemas[h] = desc
	return desc, nil
}
