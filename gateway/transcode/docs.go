package transcode

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	//go:embed docs.html
	docsHTML string
	//go:embed docs.css
	docsCSS string
)

// DocsPolicy is the Content-Security-Policy of the page that Docs makes: its own style, and nothing else.
func DocsPolicy() string {
	sum := sha256.Sum256([]byte(docsCSS))
	style := base64.StdEncoding.EncodeToString(sum[:])
	return "default-src 'none'; style-src 'sha256-" + style + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// Docs describes the bindings as a page for people, which needs no script and nothing from elsewhere. It says of the
// services in away that they don't run. Guests are marked.
func (b *Bindings) Docs(version string, away map[string]bool, guests ...Guest) ([]byte, error) {
	t, err := template.New("docs").Parse(docsHTML)
	if err != nil {
		return nil, fmt.Errorf("read page: %w", err)
	}
	var out bytes.Buffer
	page := struct {
		Version  string
		CSS      template.CSS
		Services []*docsService
	}{version, template.CSS(docsCSS), append(b.docs(away), docsOfGuests(guests)...)} //nolint:gosec // it is ours
	if err := t.Execute(&out, page); err != nil {
		return nil, fmt.Errorf("make page: %w", err)
	}
	return out.Bytes(), nil
}

// What the page shows. All of it is text, which the template escapes.
type (
	docsService struct {
		Slug    string
		Version string // of a guest
		Away    bool
		Guest   bool
		Methods []docsMethod
		Types   []docsType
	}
	docsMethod struct {
		ID, HTTP, Path, Name, Comment, Caller string
		Public                                bool
		Fields                                []docsField
		Status                                int
		Answer                                docsRef // empty where there is none
		Returns                               []docsField
	}
	docsType struct {
		ID, Name, Comment string
		Fields            []docsField
		Values            []string // of an enumeration
	}
	docsField struct {
		Name, In, Comment string
		Type              docsRef
		Required          bool
		Rules             []string
	}
	// docsRef is a field's type: what is before the name, and where the page describes it, where it does.
	docsRef struct{ Before, Name, ID string }
)

func (b *Bindings) docs(away map[string]bool) (out []*docsService) {
	var d *docsDescriber
	for _, n := range b.All() {
		if d == nil || d.service.Slug != n.Service {
			d = &docsDescriber{service: &docsService{Slug: n.Service, Away: away[n.Service]}, names: n.names, known: map[protoreflect.FullName]string{}}
			out = append(out, d.service)
		}
		d.service.Methods = append(d.service.Methods, d.method(n))
	}
	for _, s := range out {
		slices.SortFunc(s.Types, func(x, y docsType) int { return strings.Compare(x.Name, y.Name) })
	}
	return out
}

// docsDescriber describes one service, and each type that its methods lead to once.
type docsDescriber struct {
	service *docsService
	names   *names
	known   map[protoreflect.FullName]string // ids
}

func (d *docsDescriber) method(n *Binding) docsMethod {
	m := docsMethod{
		ID: n.Service + "/" + n.Method + n.Pattern, HTTP: n.Method, Path: n.Pattern, Name: n.Endpoint, Comment: comment(n.Desc),
		Caller: n.Caller(), Public: n.Caller() == "anyone", Status: n.Success,
	}
	inPath := map[string]bool{}
	for _, seg := range n.segments {
		inPath[seg.param] = true
	}
	rest := "query"
	if n.HasBody {
		rest = "body"
	}
	for _, p := range inputOf(n) {
		f := d.field(p.fd)
		f.Name, f.In = p.name, rest
		if inPath[f.Name] {
			f.In, f.Required = "path", true
		}
		m.Fields = append(m.Fields, f)
	}
	if n.query == nil { // google.protobuf.Struct
		m.Fields = []docsField{{Name: "…", In: rest, Type: docsRef{Name: "any fields"}}}
	}
	if n.Success != 204 {
		m.Answer = d.message(n.Desc.Output())
	}
	return m
}

func (d *docsDescriber) field(fd protoreflect.FieldDescriptor) docsField {
	f := docsField{Name: fd.JSONName(), Comment: comment(fd)}
	r := rulesOf(fd)
	f.Required = r.GetRequired()
	if len(r.GetOneOf()) > 0 {
		f.Rules = append(f.Rules, "one of "+strings.Join(r.GetOneOf(), ", "))
	}
	if r.GetMaxBytes() > 0 {
		f.Rules = append(f.Rules, "at most "+strconv.Itoa(int(r.GetMaxBytes()))+" characters")
	}
	if r.GetMaxItems() > 0 {
		f.Rules = append(f.Rules, "at most "+strconv.Itoa(int(r.GetMaxItems()))+" entries")
	}
	switch {
	case fd.IsMap():
		f.Type = d.kind(fd.MapValue())
		f.Type.Before += "map of "
	case fd.IsList():
		f.Type = d.kind(fd)
		f.Type.Before += "list of "
	default:
		f.Type = d.kind(fd)
	}
	return f
}

func (d *docsDescriber) kind(fd protoreflect.FieldDescriptor) docsRef {
	switch {
	case fd.Message() != nil:
		return d.message(fd.Message())
	case fd.Enum() != nil:
		return d.enum(fd.Enum())
	}
	return docsRef{Name: fd.Kind().String()}
}

func (d *docsDescriber) message(m protoreflect.MessageDescriptor) docsRef {
	if known, ok := wellKnown(m); ok {
		return docsRef{Name: plain(m, known)}
	}
	name := strings.TrimPrefix(d.names.message(m), d.service.Slug+".")
	if id, ok := d.known[m.FullName()]; ok {
		return docsRef{Name: name, ID: id}
	}
	t := docsType{ID: d.service.Slug + "/" + name, Name: name, Comment: comment(m)}
	d.known[m.FullName()] = t.ID // before its fields: types may refer to each other
	for i := range m.Fields().Len() {
		t.Fields = append(t.Fields, d.field(m.Fields().Get(i)))
	}
	d.service.Types = append(d.service.Types, t)
	return docsRef{Name: name, ID: t.ID}
}

func (d *docsDescriber) enum(e protoreflect.EnumDescriptor) docsRef {
	if id, ok := d.known[e.FullName()]; ok {
		return docsRef{Name: string(e.Name()), ID: id}
	}
	t := docsType{ID: d.service.Slug + "/" + string(e.FullName()), Name: string(e.Name()), Comment: comment(e)}
	d.known[e.FullName()] = t.ID
	for i := range e.Values().Len() {
		t.Values = append(t.Values, string(e.Values().Get(i).Name()))
	}
	d.service.Types = append(d.service.Types, t)
	return docsRef{Name: t.Name, ID: t.ID}
}

// plain is how the page calls a message with a form of its own in JSON.
func plain(m protoreflect.MessageDescriptor, form doc) string {
	switch m.Name() {
	case "Timestamp":
		return "time (RFC 3339)"
	case "Duration":
		return "duration (1.5s)"
	}
	switch t := form["type"].(type) {
	case string:
		return t
	case []string:
		return t[0]
	}
	return "any value"
}
