// Package pathstest generates spellings of paths, for tests of whatever guards paths.
package pathstest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Generator generates spellings, the same ones for the same seed.
type Generator struct {
	rand  *rand.Rand
	plain []string
}

// New returns a generator of spellings of the plain paths.
func New(seed uint64, plain ...string) *Generator {
	return &Generator{rand.New(rand.NewPCG(seed, 1)), plain}
}

// Next returns a spelling of one of the paths, and that path. Some spellings are read as that path by some server; others are not, by
// any.
func (g *Generator) Next() (path, plain string) {
	plain = g.plain[g.rand.IntN(len(g.plain))]
	path = plain
	for range 1 + g.rand.IntN(3) {
		path = g.mutate(path)
	}
	return path, plain
}

var (
	params     = []string{";", ";x", ";a=b", ";jsessionid=1", ";%2F", ";a;b", ";.."}
	separators = []string{"%2F", "%2f", "%252F", "%25252f", "//", "/;/", "%5C", "%255c", "/%2F", "%u002f", "%25u002f", "%EF%BC%8F", "%e0%80%af", "%c0%af", "%E2%88%95", "///"}
	noise      = []string{"%00", "%09", "%0a", "%20", "%ff", "%c0", "%C2%AD", "%E2%80%8B", "%7F", "%EF%BB%BF"}
	tails      = []string{"/", "//", ";x", "%2F", "%20", ".", "%2e", "%3Fx", "%23x", "%3b", "/;x", "%00", "%253F", "/.", "%2f%2f"}
	dots       = []string{"/.", "/..", "/%2e", "/x/..", "/%2e%2e", "/.;x", "%2f..", "/%252e", "/..%20"}
)

func pick(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

// mutate changes a path in one way.
func (g *Generator) mutate(p string) string {
	r := g.rand
	at := r.IntN(len(p))
	switch r.IntN(12) {
	case 0, 1, 2: // a character in another spelling
		return p[:at] + g.spell(p[at:at+1]) + p[at+1:]
	case 3, 4, 5: // a slash in another spelling
		if i := nth(p, '/', r.IntN(3)); i > 0 {
			return p[:i] + pick(r, separators) + p[i+1:]
		}
		return p
	case 6: // parameters
		if i := nth(p, '/', 1+r.IntN(2)); i > 0 {
			return p[:i] + pick(r, params) + p[i:]
		}
		return p + pick(r, params)
	case 7:
		return p + pick(r, tails)
	case 8:
		return p[:at] + pick(r, noise) + p[at:]
	case 9: // another case
		if c := p[at]; c >= 'a' && c <= 'z' {
			return p[:at] + string(c-'a'+'A') + p[at+1:]
		}
		return strings.ToUpper(p)
	case 10: // another segment
		return p + "/" + g.spell("x")
	default:
		if i := nth(p, '/', r.IntN(3)); i > 0 && r.IntN(3) == 0 {
			return p[:i] + pick(r, dots) + p[i:]
		}
		return strings.Replace(p, "%", "%25", 1)
	}
}

// nth returns the index of the n-th c of p; -1 if it has fewer.
func nth(p string, c byte, n int) int {
	for i := range len(p) {
		if p[i] != c {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
	return -1
}

// spell spells an ASCII character in another way.
func (g *Generator) spell(c string) string {
	b := c[0]
	switch g.rand.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("%%%02x", b)
	case 2:
		return fmt.Sprintf("%%%02X", b)
	case 3:
		return fmt.Sprintf("%%25%02x", b)
	case 4:
		return fmt.Sprintf("%%%02x%%%02x", 0xc0|b>>6, 0x80|b&0x3f) // overlong
	case 5:
		return fmt.Sprintf("%%25%%%02x%%%02x", '0'+b>>4, "0123456789abcdef"[b&15])
	case 6:
		if b > ' ' && b < 0x7f {
			return escaped(string(rune(b) + 0xfee0)) // fullwidth
		}
		return c
	default:
		if b == 'k' {
			return escaped("\u212a") // the Kelvin sign
		}
		if b == 's' {
			return escaped("ſ")
		}
		return fmt.Sprintf("%%u%04x", b)
	}
}

func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}
