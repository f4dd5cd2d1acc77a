package transcode

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"micromesh/pkg/errs"
	"micromesh/pkg/nearest"
)

// values turns the texts of a parameter, called name, into the JSON value of its field.
func (f field) values(name string, list []string) (json.RawMessage, error) {
	if !f.list {
		if len(list) > 1 {
			return nil, errs.Field(name, "duplicate", "is in the query %d times: send it once", len(list))
		}
		return f.value(name, list[0])
	}
	out := make([]json.RawMessage, len(list))
	for i, s := range list {
		v, err := f.value(name, s)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return json.Marshal(out)
}

// value turns a text into the JSON value of the field's form. Name is that of the field in errors.
//
// Errors: Invalid, with what would be right.
func (f field) value(name, text string) (json.RawMessage, error) {
	if !utf8.ValidString(text) { // JSON would hold another text in its place
		return nil, errs.Field(name, "encoding", "is not UTF-8")
	}
	switch f.form { //nolint:exhaustive // no text is of the others
	case formBool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, errs.Field(name, "type", "must be true or false")
		}
		return strconv.AppendBool(nil, b), nil
	case formInt:
		i, err := strconv.ParseInt(text, 10, f.bits)
		if err != nil {
			return nil, errs.Field(name, "type", "must be a whole number of %d bits", f.bits)
		}
		return strconv.AppendInt(nil, i, 10), nil
	case formUint:
		i, err := strconv.ParseUint(text, 10, f.bits)
		if err != nil {
			return nil, errs.Field(name, "type", "must be a whole number of %d bits, without a sign", f.bits)
		}
		return strconv.AppendUint(nil, i, 10), nil
	case formFloat:
		x, err := strconv.ParseFloat(text, f.bits)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) { // which JSON has not
			return nil, errs.Field(name, "type", "must be a number")
		}
		return json.Marshal(x)
	case formBytes:
		if !isBase64(text) {
			return nil, errs.Field(name, "type", "must be base64")
		}
	case formEnum:
		return enumValue(name, text, f.enum)
	case formTime:
		return special(name, text, &timestamppb.Timestamp{}, "must be a time such as 2026-01-02T15:04:05Z; a + is %2B in a query")
	case formDuration:
		return special(name, text, &durationpb.Duration{}, "must be a duration in seconds such as 1.5s")
	case formLiteral, formQuoted, formNanoseconds:
		return guessedValue(name, text, f.form)
	case formMask:
		return special(name, camelCase(text), &fieldmaskpb.FieldMask{}, "must be names of fields with commas between, such as name,owner.id")
	}
	return json.Marshal(text)
}

// special returns the JSON of a message whose form in JSON is a text.
func special(name, text string, m proto.Message, right string) (json.RawMessage, error) {
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	if protojson.Unmarshal(quoted, m) != nil {
		return nil, errs.Field(name, "type", "%s", right)
	}
	return quoted, nil
}

// enumValue returns the JSON of an enumeration's value, by its name or its number.
func enumValue(name, text string, e protoreflect.EnumDescriptor) (json.RawMessage, error) {
	if e.Values().ByName(protoreflect.Name(text)) != nil {
		return json.Marshal(text)
	}
	if i, err := strconv.ParseInt(text, 10, 32); err == nil && e.Values().ByNumber(protoreflect.EnumNumber(i)) != nil {
		return strconv.AppendInt(nil, i, 10), nil
	}
	return nil, errs.Field(name, "enum", "%s", notInEnum(text, e))
}

// notInEnum is the message for a value that an enumeration doesn't have.
func notInEnum(text string, e protoreflect.EnumDescriptor) string {
	names := make([]string, e.Values().Len())
	for i := range names {
		names[i] = string(e.Values().Get(i).Name())
	}
	msg := "is " + readable(text) + ", which is no value of " + string(e.Name())
	if best := nearest.Name(text, names); best != "" {
		return msg + ": did you mean " + best + "?"
	}
	if len(names) > mostUnknown {
		return msg
	}
	return msg + ": it has " + strings.Join(names, ", ")
}

// isBase64 reports whether a text is base64 as ProtoJSON takes it: standard or for URLs, with padding or without.
func isBase64(text string) bool {
	enc := base64.StdEncoding
	if strings.ContainsAny(text, "-_") {
		enc = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		enc = enc.WithPadding(base64.NoPadding)
	}
	_, err := enc.DecodeString(text)
	return err == nil
}

// camelCase turns paths of a field mask from the names in the .proto file into those in JSON. Others stay as they are.
func camelCase(paths string) string {
	out := make([]byte, 0, len(paths))
	for i := 0; i < len(paths); i++ {
		if c := paths[i]; c != '_' || i+1 == len(paths) || paths[i+1] < 'a' || paths[i+1] > 'z' {
			out = append(out, c)
			continue
		}
		i++
		out = append(out, paths[i]-'a'+'A')
	}
	return string(out)
}
