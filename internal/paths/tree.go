package paths

import "strings"

// Segment is a part of a pattern: a literal, a parameter, or the rest of a path.
type Segment struct {
	Literal string
	Param   string // the name of a parameter, which takes a segment that is not empty
	Rest    bool   // all that follows, which may be nothing
}

// Pattern is a path with parameters. The empty pattern is the path "/".
type Pattern []Segment

// Params returns the names of the parameters, in their order.
func (p Pattern) Params() (names []string) {
	for _, s := range p {
		if s.Param != "" {
			names = append(names, s.Param)
		}
	}
	return names
}

// Exact reports whether a reading that the pattern matches in folded case has the pattern's literals in their own case too.
func (p Pattern) Exact(reading string) bool {
	for _, s := range p {
		if s.Rest || reading == "" {
			return true
		}
		value := segment(reading)
		if s.Param == "" && value != s.Literal {
			return false
		}
		reading = reading[1+len(value):]
	}
	return true
}

// Values returns what a path that the pattern matches has for its parameters, in their order.
func (p Pattern) Values(path string) (values []string) {
	for _, s := range p {
		if s.Rest || path == "" {
			break
		}
		value := segment(path)
		if s.Param != "" {
			values = append(values, value)
		}
		path = path[1+len(value):]
	}
	return values
}

// segment returns the first segment of a path that starts with a slash.
func segment(path string) string {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		path = path[:i]
	}
	return path
}

// Tree finds patterns that match a reading. The zero value is empty.
type Tree[T any] struct{ root node[T] }

type node[T any] struct {
	literals map[string]*node[T] // by their text in lower case
	param    *node[T]
	here     []leaf[T] // patterns that end here
	rest     []leaf[T] // patterns that take all that follows
}

type leaf[T any] struct {
	pattern Pattern
	value   T
}

// Add adds a pattern. Values of patterns that match the same paths are visited in the order in which they were added.
func (t *Tree[T]) Add(p Pattern, value T) {
	n := &t.root
	for _, s := range p {
		switch {
		case s.Rest:
			n.rest = append(n.rest, leaf[T]{p, value})
			return
		case s.Param != "":
			if n.param == nil {
				n.param = &node[T]{}
			}
			n = n.param
		default:
			key := Fold(s.Literal)
			if n.literals == nil {
				n.literals = map[string]*node[T]{}
			}
			if n.literals[key] == nil {
				n.literals[key] = &node[T]{}
			}
			n = n.literals[key]
		}
	}
	n.here = append(n.here, leaf[T]{p, value})
}

// Mode is a set of options of a comparison.
type Mode uint8

// The modes, which can be combined. The zero value folds the case of ASCII letters.
const (
	ExactCase  Mode = 1 << iota // literals are compared in the case in which they were added
	NamedFirst                  // the first segment must be a literal
)

// Walk calls visit with the values of the patterns that match, until it returns true. The most exact pattern comes first: at each
// segment a literal before a parameter, and that before the rest. A slash at the end of a reading counts as a segment, which only
// the rest takes. It allocates nothing.
func (t *Tree[T]) Walk(reading string, mode Mode, visit func(T) bool) {
	if reading == "/" {
		reading = ""
	}
	if reading == "" || reading[0] == '/' {
		t.root.walk(reading, 0, mode, visit)
	}
}

func (n *node[T]) walk(reading string, at int, mode Mode, visit func(T) bool) bool {
	if at == len(reading) {
		return visitAll(n.here, reading, mode, visit) || (at > 0 || mode&NamedFirst == 0) && visitAll(n.rest, reading, mode, visit)
	}
	if value := segment(reading[at:]); value != "" {
		end := at + 1 + len(value)
		if next := n.literal(value); next != nil && next.walk(reading, end, mode, visit) {
			return true
		}
		if n.param != nil && (at > 0 || mode&NamedFirst == 0) && n.param.walk(reading, end, mode, visit) {
			return true
		}
	}
	return (at > 0 || mode&NamedFirst == 0) && visitAll(n.rest, reading, mode, visit)
}

func visitAll[T any](leaves []leaf[T], reading string, mode Mode, visit func(T) bool) bool {
	for i := range leaves {
		if (mode&ExactCase == 0 || leaves[i].pattern.Exact(reading)) && visit(leaves[i].value) {
			return true
		}
	}
	return false
}

// literal returns the child for a segment.
func (n *node[T]) literal(value string) *node[T] {
	if len(n.literals) == 0 {
		return nil
	}
	if next := n.literals[value]; next != nil {
		return next
	}
	var room [64]byte
	folded := room[:0]
	for i := range len(value) {
		folded = append(folded, lower(value[i]))
	}
	return n.literals[string(folded)]
}

// Fold returns s with its ASCII letters in lower case. Other letters stay as they are.
func Fold(s string) string {
	for i := range len(s) {
		if lower(s[i]) == s[i] {
			continue
		}
		b := []byte(s)
		for j := i; j < len(b); j++ {
			b[j] = lower(b[j])
		}
		return string(b)
	}
	return s
}
