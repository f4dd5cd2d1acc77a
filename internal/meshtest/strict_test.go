package meshtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"micromesh/internal/meshtest"
)

// httpContract is the public HTTP contract, as testdata/contract-types.txt has it.
type httpContract struct {
	calls map[string]contractCall
	types map[string]map[string]contractField // by type and field
	enums map[string][]string
}

type contractCall struct {
	method, pattern, answer string
	status                  int
}

type contractField struct {
	kind     string // "string", "[App]", "map<string,string>", …
	required bool
}

var (
	callLine  = regexp.MustCompile("^\\| `(\\w+) (\\S+)`(?: with query `[^`]*`)? (\\w+) \\| [^|]* \\| (\\d+) ([^|]*) \\|")
	typeLine  = regexp.MustCompile(`^(\w+) \{ (.*) \}$`)
	enumLine  = regexp.MustCompile(`^(\w+) = (.+)$`)
	fieldPart = regexp.MustCompile(`(\w+)(\*?): (map<[^>]*>|[^,]+)(?:, |$)`)
)

func readContract(t *testing.T) httpContract {
	t.Helper()
	b, err := os.ReadFile("testdata/contract-types.txt")
	if err != nil {
		t.Fatal(err)
	}
	c := httpContract{map[string]contractCall{}, map[string]map[string]contractField{}, map[string][]string{}}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case callLine.MatchString(line):
			f := callLine.FindStringSubmatch(line)
			status, err := strconv.Atoi(f[4])
			if err != nil {
				t.Fatal(err)
			}
			c.calls[f[3]] = contractCall{method: f[1], pattern: f[2], status: status, answer: strings.TrimSpace(f[5])}
		case typeLine.MatchString(line):
			f := typeLine.FindStringSubmatch(line)
			fields := map[string]contractField{}
			for _, p := range fieldPart.FindAllStringSubmatch(f[2], -1) {
				fields[p[1]] = contractField{kind: strings.TrimSpace(p[3]), required: p[2] == "*"}
			}
			if len(fields) == 0 && strings.TrimSpace(f[2]) != "" {
				t.Fatalf("no fields are read of %q", line)
			}
			c.types[f[1]] = fields
		case enumLine.MatchString(line):
			f := enumLine.FindStringSubmatch(line)
			c.enums[f[1]] = strings.Split(f[2], "|")
		default:
			t.Fatalf("%q is neither a call nor a type", line)
		}
	}
	if len(c.calls) != 45 || len(c.types) < 80 || len(c.enums) != 4 {
		t.Fatalf("the contract has %d calls, %d types and %d enumerations", len(c.calls), len(c.types), len(c.enums))
	}
	return c
}

// strictClient calls a mesh, and decodes each answer as generated clients do.
type strictClient struct {
	t *testing.T
	httpContract
	mesh    *meshtest.Mesh
	later   bool            // answers may have fields that the contract doesn't have
	called  map[string]bool // calls
	seen    map[string]bool // types that answers had, and "Type.field" for fields with a value
	unknown map[string]bool // "Type.field" beyond the contract
}

// call makes a call whose path parameters are params, in turn; a last one with "=" is the query.
func (s *strictClient) call(name, token string, in any, params ...string) meshtest.Answer {
	s.t.Helper()
	c, ok := s.calls[name]
	if !ok {
		s.t.Fatalf("the contract has no call %s", name)
	}
	s.called[name] = true
	path := regexp.MustCompile(`\{\w+\}`).ReplaceAllStringFunc(c.pattern, func(string) string {
		p := url.PathEscape(params[0])
		params = params[1:]
		return p
	})
	if len(params) > 0 {
		path += "?" + params[0]
	}
	a := s.mesh.Do(s.t, c.method, path, token, in).Must(s.t, c.status)
	if c.status == http.StatusNoContent {
		if len(a.Body) > 0 {
			s.t.Errorf("%s answers 204 with %s", name, a.Body)
		}
		return a
	}
	d := json.NewDecoder(strings.NewReader(string(a.Body)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		s.t.Fatalf("%s answers %s: %v", name, a.Body, err)
	}
	for _, wrong := range s.check(name, c.answer, v) {
		s.t.Errorf("%s: %s: %s", name, wrong, a.Body)
	}
	return a
}

// check compares a JSON value with a type of the contract, and returns what is wrong.
func (s *strictClient) check(path, kind string, v any) (wrong []string) {
	is := func(ok bool) []string {
		if ok {
			return nil
		}
		return []string{fmt.Sprintf("%s is %v, which is no %s", path, v, kind)}
	}
	if element, ok := strings.CutPrefix(kind, "["); ok {
		list, ok := v.([]any)
		for i, one := range list {
			wrong = append(wrong, s.check(fmt.Sprintf("%s[%d]", path, i), strings.TrimSuffix(element, "]"), one)...)
		}
		return append(wrong, is(ok)...)
	}
	if element, ok := strings.CutPrefix(kind, "map<string,"); ok {
		m, ok := v.(obj)
		for key, one := range m {
			wrong = append(wrong, s.check(path+"["+key+"]", strings.TrimSuffix(element, ">"), one)...)
		}
		return append(wrong, is(ok)...)
	}
	switch kind {
	case "any":
		return nil
	case "string":
		_, ok := v.(string)
		return is(ok)
	case "boolean":
		_, ok := v.(bool)
		return is(ok)
	case "number", "integer":
		n, ok := v.(json.Number)
		return is(ok && (kind == "number" || !strings.ContainsAny(n.String(), ".eE")))
	}
	if values, ok := s.enums[kind]; ok {
		text, _ := v.(string)
		return is(slices.Contains(values, text))
	}
	m, ok := v.(obj)
	if !ok {
		return is(false)
	}
	return s.object(path, kind, m)
}

func (s *strictClient) object(path, kind string, m obj) (wrong []string) {
	fields, ok := s.types[kind]
	if !ok {
		s.t.Fatalf("the contract has no type %s", kind)
	}
	s.seen[kind] = true
	for name, v := range m {
		f, ok := fields[name]
		switch {
		case ok:
			if !empty(v) {
				s.seen[kind+"."+name] = true
			}
			wrong = append(wrong, s.check(path+"."+name, f.kind, v)...)
		case s.later:
			s.unknown[kind+"."+name] = true
		default:
			wrong = append(wrong, fmt.Sprintf("%s.%s is no field of %s", path, name, kind))
		}
	}
	for name, f := range fields {
		if _, ok := m[name]; f.required && !ok {
			wrong = append(wrong, fmt.Sprintf("%s has no %s, which %s requires", path, name, kind))
		}
	}
	return wrong
}
