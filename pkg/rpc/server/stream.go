package server

import (
	"encoding/json"
	"regexp"
	"strings"

	"go-micro.dev/v5/codec/bytes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"micromesh/pkg/errs"
)

// JSON on the wire is the HTTP API's own: lowerCamelCase, and every field that has a place in the answer is in it.
// Unknown fields of a request are passed over, so that a newer client can call an older service.
var (
	jsonOut = protojson.MarshalOptions{EmitDefaultValues: true}
	jsonIn  = protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 100}
)

// intercept puts the server's own coding between gRPC and go-micro.
func intercept(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	asJSON := false
	if ct := md.Get("content-type"); len(ct) > 0 {
		asJSON = strings.HasSuffix(ct[0], "+json") || strings.HasSuffix(ct[0], "/json")
	}
	return handler(srv, &stream{ServerStream: ss, json: asJSON})
}

// stream receives and sends frames of bytes, and codes messages itself: so a message that can't be decoded is the
// caller's error, with the reason, where gRPC would call it internal.
type stream struct {
	grpc.ServerStream
	json bool
}

func (s *stream) RecvMsg(v any) error {
	var f bytes.Frame
	if err := s.ServerStream.RecvMsg(&f); err != nil {
		return err
	}
	if err := s.decode(f.Data, v); err != nil {
		return toStatus(s.ServerStream, err)
	}
	return nil
}

func (s *stream) SendMsg(v any) error {
	data, err := s.encode(v)
	if err != nil {
		return err
	}
	return s.ServerStream.SendMsg(&bytes.Frame{Data: data})
}

func (s *stream) decode(data []byte, v any) error {
	m, ok := v.(proto.Message)
	switch {
	case !ok:
		if err := json.Unmarshal(data, v); err != nil {
			return errs.New(errs.Invalid, "INVALID_JSON", "the message is not valid JSON").Because(err)
		}
	case s.json:
		if len(data) == 0 {
			return nil
		}
		if err := jsonIn.Unmarshal(data, m); err != nil {
			return invalidJSON(err)
		}
	default:
		if err := proto.Unmarshal(data, m); err != nil {
			return errs.New(errs.Invalid, "INVALID_MESSAGE", "the message is not a valid %s", m.ProtoReflect().Descriptor().FullName()).Because(err)
		}
	}
	return nil
}

func (s *stream) encode(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	switch {
	case !ok:
		return json.Marshal(v)
	case s.json:
		return jsonOut.Marshal(m)
	}
	return proto.Marshal(m)
}

var wrongValue = regexp.MustCompile(`invalid value for (\S+) field (\S+): (.*)`)

// invalidJSON returns the caller's mistake that protojson has found, with the field if that is named.
func invalidJSON(err error) error {
	msg := reason(err)
	e := errs.New(errs.Invalid, "INVALID_JSON", "%s", msg).Because(err)
	if m := wrongValue.FindStringSubmatch(msg); m != nil {
		return e.With(errs.Detail{Field: m[2], Rule: "type", Message: "must be of type " + m[1] + ", not " + m[3]})
	}
	return e
}

// reason makes protojson's error fit for the caller: it tells the line, the field and what was wrong already, behind
// a prefix that varies its white space on purpose.
func reason(err error) string {
	msg := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	msg = strings.TrimSpace(strings.TrimPrefix(msg, "proto:"))
	return "the body is not what it should be: " + msg
}

// unused is a codec that go-micro calls for a result that nothing reads.
type unused struct{}

func (unused) Marshal(any) ([]byte, error) { return nil, nil }
func (unused) Unmarshal([]byte, any) error { return nil }
func (unused) Name() string                { return "unused" }
