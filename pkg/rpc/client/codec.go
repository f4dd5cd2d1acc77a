package client

import (
	"encoding/json"
	"fmt"

	"go-micro.dev/v5/codec/bytes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/errs"
)

// Content types that a request may name, as go-micro's gRPC client understands them.
const (
	contentTypeProto = "application/grpc+proto"
	contentTypeJSON  = "application/grpc+json"
)

// codecFor gives the call options for a content type.
func codecFor(contentType string) (grpc.CallOption, error) {
	switch contentType {
	case contentTypeProto, "application/grpc", "application/proto", "application/protobuf", "application/octet-stream":
		return grpc.ForceCodecV2(protoCodec{}), nil
	case contentTypeJSON, "application/json":
		return grpc.ForceCodecV2(jsonCodec{}), nil
	}
	return nil, errs.New(errs.Unsupported, "", "content type %q is none of proto and json", contentType)
}

// protoCodec encodes into pooled buffers.
type protoCodec struct{}

var _ encoding.CodecV2 = protoCodec{}

func (protoCodec) Name() string { return "proto" }

func (protoCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*bytes.Frame); ok {
		return copyOf(f.Data), nil
	}
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("encode %T: it is no proto.Message", v)
	}
	size := proto.Size(m)
	options := proto.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(size) {
		b, err := options.Marshal(m)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	pool := mem.DefaultBufferPool()
	b := pool.Get(size)
	if _, err := options.MarshalAppend((*b)[:0], m); err != nil {
		pool.Put(b)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

func (protoCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*bytes.Frame); ok {
		f.Data = data.Materialize()
		return nil
	}
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("decode %T: it is no proto.Message", v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return proto.Unmarshal(b.ReadOnlyData(), m)
}

// jsonCodec encodes messages as protobuf's JSON, and anything else as encoding/json does.
type jsonCodec struct{}

var _ encoding.CodecV2 = jsonCodec{}

func (jsonCodec) Name() string { return "json" }

func (jsonCodec) Marshal(v any) (mem.BufferSlice, error) {
	var b []byte
	var err error
	switch m := v.(type) {
	case *bytes.Frame:
		return copyOf(m.Data), nil
	case proto.Message:
		b, err = protojson.Marshal(m)
	default:
		b, err = json.Marshal(m)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (jsonCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b := data.Materialize()
	switch m := v.(type) {
	case *bytes.Frame:
		m.Data = b
		return nil
	case proto.Message:
		return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
	}
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, v)
}

// rawCodec passes bytes through, under the name of the encoding that they have.
type rawCodec string

var _ encoding.CodecV2 = rawCodec("")

func (c rawCodec) Name() string { return string(c) }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) { return copyOf(*v.(*[]byte)), nil }

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// copyOf copies into a pooled buffer: grpc-go may still write a message after a cancelled call has returned.
func copyOf(b []byte) mem.BufferSlice {
	return mem.BufferSlice{mem.Copy(b, mem.DefaultBufferPool())}
}
