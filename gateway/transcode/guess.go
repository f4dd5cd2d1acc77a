package transcode

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"micromesh/pkg/errs"
)

// Guess says which forms the texts for a guest's fields have, where what go-micro registers of a type doesn't tell: whether a type of a
// program is a number or a text, and whether a number is written as one (`json:",string"`). It is by the fields' names, with dots.
type Guess map[string]form

// Guess returns the forms that were found out, beyond those of before.
func (n *Binding) Guess() Guess { return maps.Clone(n.guess) }

// Use sets the forms to begin with.
func (n *Binding) Use(g Guess) { n.guess = maps.Clone(g) }

// guessed returns a field with the form that is known to be right, and notes the field's text.
func (n *Binding) guessed(path []field, texts []string) field {
	f := path[len(path)-1]
	if !n.open {
		return f
	}
	name := dotted(path)
	if n.texts == nil {
		n.texts = map[string]sample{}
	}
	if known, ok := n.guess[name]; ok {
		f.form = known
	}
	n.texts[name] = sample{f.form, slices.Clone(texts)}
	return f
}

// sample is a field's texts, and the form in which they were sent.
type sample struct {
	form  form
	texts []string
}

var (
	wrongType   = regexp.MustCompile(`^json: cannot unmarshal (\w+)(?: [^ ]+)? into Go struct field ([^ ]+) of type (.+)$`)
	wrongRoot   = regexp.MustCompile(`^json: cannot unmarshal (\w+) into Go value of type (.+)$`)
	wrongString = regexp.MustCompile(`^json: invalid use of ,string struct tag, trying to unmarshal .* into ([^ ]+)$`)
	wrongField  = regexp.MustCompile(`\(line \d+:\d+\): unknown field "([^"]+)"`)
	wrongValue  = regexp.MustCompile(`\(line \d+:\d+\): invalid value for ([^ ]+) field ([^ ]+): (.*)`)
	literal     = regexp.MustCompile(`^(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false)$`)
)

// fromGRPC is the beginning of a decoder's error as grpc-go reports it.
var fromGRPC = regexp.MustCompile(`^rpc error: code = Internal desc = grpc: (failed to unmarshal the received message|error unmarshalling request): `)

// Correct looks at the error of a guest that could not decode its request, before any handler ran. It reports whether the message is to be
// made and sent again, since a text may have another form. If not, it returns the caller's mistake, or nil for an error of a
// handler.
func (n *Binding) Correct(text string) (again bool, mistake error) {
	sure := fromGRPC.MatchString(text)
	decoder := strings.ReplaceAll(fromGRPC.ReplaceAllString(text, ""), "\u00a0", " ")
	if m := wrongType.FindStringSubmatch(decoder); m != nil {
		return n.mistyped(m[1], m[2], m[3], sure)
	}
	if m := wrongRoot.FindStringSubmatch(decoder); m != nil && sure {
		return false, errs.Invalidf("the body must be %s, not %s", goType(m[2]), article(m[1]))
	}
	if m := wrongString.FindStringSubmatch(decoder); m != nil {
		if n.quoteNext() {
			return true, nil
		}
		return false, errs.Invalidf("the body has a value that must be text which holds a value of %s, as \"7\"", goType(m[1]))
	}
	if strings.HasPrefix(decoder, "parsing time ") || strings.HasPrefix(decoder, "Time.UnmarshalJSON: ") || strings.HasPrefix(decoder, "illegal base64 data") {
		return false, n.unread()
	}
	if !strings.HasPrefix(decoder, "proto:") || !strings.Contains(decoder, "(line ") {
		return false, nil
	}
	if m := wrongField.FindStringSubmatch(decoder); m != nil {
		return false, errs.Field(readable(m[1]), "unknown", "is no field of the request")
	}
	if m := wrongValue.FindStringSubmatch(decoder); m != nil {
		if n.retype(m[2], formLiteral) {
			return true, nil
		}
		return false, errs.Field(m[2], "type", "must be of type %s, not %s", m[1], m[3])
	}
	return false, errs.New(errs.Invalid, "INVALID_JSON", "the body is not what it should be: %s", strings.TrimSpace(strings.TrimPrefix(decoder, "proto:")))
}

// unread returns the mistake of a message with a time or bytes that Go can't read; nil if all can be. Go doesn't name the field.
func (n *Binding) unread() error {
	r, ok := n.query.(registeredFields)
	if !ok {
		return nil
	}
	var message map[string]any
	if err := json.Unmarshal(n.sent, &message); err != nil {
		return errs.New(errs.Invalid, "INVALID_JSON", "the body is not valid JSON: %s", err)
	}
	return r.unread("", message)
}

func (r registeredFields) unread(before string, message map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(message)) {
		v := r.named(name, 0)
		if v == nil {
			continue
		}
		text, isText := message[name].(string)
		within, isMessage := message[name].(map[string]any)
		switch {
		case isMessage:
			if err := (registeredFields{v}).unread(before+v.Name+".", within); err != nil {
				return err
			}
		case v.Type == "Time" && message[name] != nil:
			if _, err := time.Parse(time.RFC3339, text); err != nil {
				return errs.Field(before+v.Name, "type", "must be a time such as 2026-01-02T15:04:05Z")
			}
		case v.Type == "[]uint8" && isText && !isBase64(text):
			return errs.Field(before+v.Name, "type", "must be base64")
		}
	}
	return nil
}

// mistyped is Correct for a value of another type than the field's. Go names the field behind its struct.
func (n *Binding) mistyped(got, place, want string, sure bool) (again bool, mistake error) {
	known, found := n.registeredAs(strings.Cut(place, "."))
	if _, sent := n.texts[n.sentAs(known)]; !found && !sure && !sent {
		return false, nil // a handler may have decoded something else
	}
	next := formLiteral
	if got != "string" {
		next = formText
	}
	if n.retype(known, next) {
		return true, nil
	}
	return false, errs.Field(known, "type", "must be %s, not %s", goType(want), article(got))
}

// registeredAs returns the name of a field that Go names behind the struct that has it, and behind the structs that are embedded in that. It
// reports whether there is one.
func (n *Binding) registeredAs(structure, name string, _ bool) (known string, found bool) {
	if n.query == nil {
		return name, false
	}
	if structure == n.query.title() {
		name = name[strings.LastIndexByte(name, '.')+1:]
	}
	for rest, ok := name, true; ok; _, rest, ok = strings.Cut(rest, ".") {
		if path, err := lookUp(n.query, rest); err != nil || path != nil {
			return rest, true
		}
	}
	return name, false
}

// sentAs returns the name under which a text was sent for a field. Go finds fields in any letter case.
func (n *Binding) sentAs(name string) string {
	for sent := range n.texts {
		if strings.EqualFold(sent, name) {
			return sent
		}
	}
	return name
}

// retype changes the form of a field whose texts were sent in another, and reports whether that is worth another try.
func (n *Binding) retype(name string, next form) bool {
	name = n.sentAs(name)
	s, ok := n.texts[name]
	if !ok || s.form == next || s.form != formQuoted && n.tried[name+" "+strconv.Itoa(int(next))] {
		return false
	}
	if next == formLiteral && slices.ContainsFunc(s.texts, func(t string) bool { return !literal.MatchString(t) }) {
		return false
	}
	n.set(name, next)
	return true
}

// quoteNext has the next number be written as a text. Go doesn't say which field must be.
func (n *Binding) quoteNext() bool {
	for _, name := range slices.Sorted(maps.Keys(n.texts)) {
		switch n.texts[name].form { //nolint:exhaustive // others are no numbers
		case formInt, formUint, formFloat, formBool, formLiteral:
			if !n.tried[name+" "+strconv.Itoa(int(formQuoted))] {
				n.set(name, formQuoted)
				return true
			}
		}
	}
	return false
}

func (n *Binding) set(name string, f form) {
	if n.guess == nil {
		n.guess = Guess{}
	}
	if n.tried == nil {
		n.tried = map[string]bool{}
	}
	n.tried[name+" "+strconv.Itoa(int(f))] = true
	n.guess[name] = f
}

// guessedValue returns the JSON of a text in a form that a guest's field may have.
func guessedValue(name, text string, f form) (json.RawMessage, error) {
	switch f { //nolint:exhaustive // the others are those of schemas
	case formLiteral:
		if !literal.MatchString(text) {
			return nil, errs.Field(name, "type", "must be a number, or true or false")
		}
		return json.RawMessage(text), nil
	case formNanoseconds:
		if d, err := time.ParseDuration(text); err == nil {
			return strconv.AppendInt(nil, int64(d), 10), nil
		}
		if literal.MatchString(text) {
			return json.RawMessage(text), nil
		}
	case formQuoted:
		if !literal.MatchString(text) {
			return nil, errs.Field(name, "type", "must be a number, or true or false")
		}
	}
	return json.Marshal(text)
}

// goType describes a Go type to a caller.
func goType(name string) string {
	switch {
	case strings.HasPrefix(name, "int"), strings.HasPrefix(name, "uint"):
		return "a whole number (" + name + ")"
	case strings.HasPrefix(name, "float"):
		return "a number"
	case name == "bool":
		return "true or false"
	case name == "string":
		return "a text"
	case strings.HasPrefix(name, "[]"):
		return "a list"
	case strings.HasPrefix(name, "map["):
		return "an object"
	}
	if strings.HasPrefix(name, "struct {") {
		return "an object"
	}
	return "a value of type " + name[strings.LastIndexByte(name, '.')+1:]
}

// article describes a kind of JSON as encoding/json names it.
func article(kind string) string {
	switch kind {
	case "string":
		return "a text"
	case "number":
		return "this number"
	case "bool":
		return "true or false"
	case "array":
		return "a list"
	}
	return "an " + kind
}
