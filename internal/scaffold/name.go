package scaffold

import (
	"errors"
	"fmt"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

// Name is what a service is called, in the forms that its parts need: for shop-cart it is
type Name struct {
	Base    string // shop-cart, of folders and images
	Slug    string // shop-cart-svc, in the mesh
	Package string // shopcart, in Go and in protos
	Type    string // ShopCart, in Go and in protos
}

const (
	slugEnd = "-svc"
	maxSlug = 50 // as long as names on NATS and Postgres may be, see package provision
)

var (
	baseForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$`)
	// taken are the slugs of the mesh, those that it keeps, and topics of its events, without their ending.
	taken = []string{"user", "registry", "proxy", "gateway", "forwarder", "config", "deploy", "policy", "secret", "mesh", "micromesh", "accounts", "instances", "routes"}
	// unfit are names of folders that Go does not look into, or keeps from others.
	unfit = []string{"internal", "vendor", "testdata", "main", "google", "events"}
)

// ParseName reads the name of a service, which may end in -svc, as its slug does anyway.
func ParseName(s string) (Name, error) {
	base := strings.TrimSuffix(s, slugEnd)
	n := Name{Base: base, Slug: base + slugEnd, Package: strings.ReplaceAll(base, "-", ""), Type: camel(strings.ReplaceAll(base, "-", "_"))}
	switch {
	case !baseForm.MatchString(base):
		return n, fmt.Errorf("%q is no name of a service: it must be of lower-case letters and digits, in parts that begin with a letter and are joined by single hyphens, such as account or shop-cart", s)
	case len(n.Slug) > maxSlug:
		return n, fmt.Errorf("%q is too long: with %s it may have %d letters", s, slugEnd, maxSlug)
	case slices.Contains(taken, base):
		return n, fmt.Errorf("%q is the mesh's own: choose another name", s)
	case token.IsKeyword(n.Package) || slices.Contains(unfit, base):
		return n, fmt.Errorf("%q means something in Go: choose another name", s)
	}
	return n, nil
}

var fieldForm = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$`)

// Field is a field of an entity.
type Field struct {
	Name string // unit_price, in the proto and in SQL
	Go   string // UnitPrice, in the domain
	PB   string // UnitPrice, in generated code
	JSON string // unitPrice
	Type string // of those in fieldTypes
}

// fieldTypes are the types of fields that are understood, with their type in the proto, in the domain, and in SQL.
var fieldTypes = map[string]struct{ proto, domain, sql string }{
	"string":    {"string", "string", "TEXT"},
	"int32":     {"int32", "int32", "INTEGER"},
	"int64":     {"int64", "int64", "BIGINT"},
	"bool":      {"bool", "bool", "BOOLEAN"},
	"double":    {"double", "float64", "DOUBLE PRECISION"},
	"timestamp": {"string", "time.Time", "BIGINT"},
}

const typeNames = "string, int32, int64, bool, double or timestamp"

// Proto is the field's type in the proto.
func (f Field) Proto() string { return fieldTypes[f.Type].proto }

// Domain is the field's type in the domain.
func (f Field) Domain() string { return fieldTypes[f.Type].domain }

// SQL is the type of the field's column.
func (f Field) SQL() string { return fieldTypes[f.Type].sql }

// Entity is what a service keeps.
type Entity struct {
	Name   string // OrderLine
	Plural string // OrderLines
	Snake  string // order_line
	Fields []Field
}

// Table is where the entity lies.
func (e *Entity) Table() string { return plural(e.Snake) }

// File is the base name of files about it.
func (e *Entity) File() string { return strings.ReplaceAll(e.Snake, "_", "") }

// Path is what it is called in paths and permissions, and Paths what a list of it is called.
func (e *Entity) Path() string { return strings.ReplaceAll(e.Snake, "_", "-") }

// Paths is what a list of it is called in paths.
func (e *Entity) Paths() string { return plural(e.Path()) }

// Words is what it is called in sentences.
func (e *Entity) Words() string { return strings.ReplaceAll(e.Snake, "_", " ") }

// ManyWords is what several of it are called in sentences.
func (e *Entity) ManyWords() string { return plural(e.Words()) }

// A is the article of its name in sentences.
func (e *Entity) A() string {
	if strings.ContainsRune("aeiou", rune(e.Snake[0])) {
		return "an"
	}
	return "a"
}

// JSONName is what it is called in JSON.
func (e *Entity) JSONName() string { return strings.ToLower(e.Name[:1]) + e.Name[1:] }

// SnakePlural is the field of lists in the proto.
func (e *Entity) SnakePlural() string { return plural(e.Snake) }

// Has tells whether it has a field of a type.
func (e *Entity) Has(kind string) bool {
	return slices.ContainsFunc(e.Fields, func(f Field) bool { return f.Type == kind })
}

// Required is the field that must not be empty; nil where none is a text.
func (e *Entity) Required() *Field {
	i := slices.IndexFunc(e.Fields, func(f Field) bool { return f.Type == "string" })
	if i < 0 {
		return nil
	}
	return &e.Fields[i]
}

var (
	entityForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	// ownTypes are types that generated services have already, and ownFields are fields that every entity has. The others are
	// names of methods of generated messages.
	ownTypes  = []string{"Event", "Store", "Service", "Handler", "Page", "Error"}
	ownFields = []string{"id", "created_at", "updated_at", "reset", "string", "descriptor", "marshal", "unmarshal", "proto_message", "proto_reflect"}
)

// ParseEntity reads what a service keeps: its name, and its fields as name:type. It tells everything that is wrong at once.
func ParseEntity(name string, fields []string) (*Entity, error) {
	var wrong []error
	e := &Entity{Name: name, Plural: plural(name), Snake: snake(name)}
	switch {
	case !entityForm.MatchString(name) || len(name) > 40 || camel(e.Snake) != name:
		wrong = append(wrong, fmt.Errorf("--crud %q: it must be a word or several, each with a capital letter and small ones or digits, such as Widget or OrderLine, of at most 40", name))
	case slices.Contains(ownTypes, name) || token.IsKeyword(strings.ToLower(name)):
		wrong = append(wrong, fmt.Errorf("--crud %q: the service has another %s: choose another name", name, name))
	}
	if len(fields) == 0 {
		wrong = append(wrong, fmt.Errorf("--crud %s needs fields, such as name:string price:int32", name))
	}
	seen := map[string]bool{}
	for _, s := range fields {
		f, err := parseField(s)
		if err == nil && seen[f.Go] {
			err = fmt.Errorf("the field %s is named twice", f.Name)
		}
		seen[f.Go] = true
		wrong = append(wrong, err)
		e.Fields = append(e.Fields, f)
	}
	return e, errors.Join(wrong...)
}

func parseField(s string) (Field, error) {
	name, kind, _ := strings.Cut(s, ":")
	f := Field{Name: name, Go: initialisms(name), PB: camel(name), Type: kind}
	f.JSON = strings.ToLower(f.PB[:min(1, len(f.PB))]) + f.PB[min(1, len(f.PB)):]
	switch {
	case !fieldForm.MatchString(name) || len(name) > 50 || strings.HasPrefix(name, "get_"):
		return f, fmt.Errorf("%q is no field: it must be name:type, the name in lower case with single underscores, such as unit_price:int32", s)
	case slices.Contains(ownFields, name):
		return f, fmt.Errorf("the field %s is there already: choose another name", name)
	case fieldTypes[kind].proto == "":
		return f, fmt.Errorf("the type of the field %s is %q; it must be %s", name, kind, typeNames)
	}
	return f, nil
}

// camel makes ShopCart of shop_cart.
func camel(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// initialisms makes UserID of user_id, as Go has it.
func initialisms(s string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(s, "_") {
		if slices.Contains([]string{"id", "url", "ip", "api", "http", "json", "html", "sql", "uid", "uuid"}, part) {
			b.WriteString(strings.ToUpper(part))
			continue
		}
		b.WriteString(camel(part))
	}
	return b.String()
}

// snake makes order_line of OrderLine.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if 'A' <= r && r <= 'Z' {
			if i > 0 && (s[i-1] < 'A' || 'Z' < s[i-1]) {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plural makes boxes of box.
func plural(s string) string {
	end := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(e string) bool { return strings.HasSuffix(strings.ToLower(s), e) })
	}
	switch {
	case end("s", "x", "z", "ch", "sh"):
		return s + "es"
	case end("y") && !end("ay", "ey", "oy", "uy"):
		return s[:len(s)-1] + "ies"
	}
	return s + "s"
}
