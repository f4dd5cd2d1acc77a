package paths

import (
	"strings"
	"unicode/utf8"
)

// Decode decodes percent-encoding once, but for encoded slashes: segments stay as they were sent. Go's http.ServeMux reads paths so.
func Decode(path string) string { return decode(path, true) }

func decodeAll(path string) string { return decode(path, false) }

func decode(path string, keepSlashes bool) string {
	i := strings.IndexByte(path, '%')
	if i < 0 {
		return path
	}
	out := append(make([]byte, 0, len(path)), path[:i]...)
	for i < len(path) {
		r, n := unescape(path[i:])
		switch {
		case n == 1 || keepSlashes && r == '/':
			out = append(out, path[i:i+n]...)
		case n == 6:
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, byte(r)) //nolint:gosec // two hexadecimal digits are a byte
		}
		i += n
	}
	return string(out)
}

// unescape reads the escape that p starts with: %XX, or %uXXXX as IIS does. It returns the character and the number of bytes read,
// which is 1 where there is no escape.
func unescape(p string) (r rune, n int) {
	if len(p) < 3 || p[0] != '%' {
		return 0, 1
	}
	if hi, lo := digits[p[1]], digits[p[2]]; hi|lo >= 0 {
		return rune(hi)<<4 | rune(lo), 3
	}
	if len(p) < 6 || p[1] != 'u' {
		return 0, 1
	}
	for i := 2; i < 6; i++ {
		d := digits[p[i]]
		if d < 0 {
			return 0, 1
		}
		r = r<<4 | rune(d)
	}
	return r, 6
}

// digits are the values of hexadecimal digits; other bytes are -1.
var digits = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 10 {
		t['0'+i] = int8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = int8(10+i), int8(10+i)
	}
	return t
}()

// lower returns c in lower case if it is an ASCII letter.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// cutParams cuts ;parameters off each segment, as Tomcat does.
func cutParams(path string) string {
	out := make([]byte, 0, len(path))
	skip := false
	for i := range len(path) {
		skip = path[i] == ';' || skip && path[i] != '/'
		if !skip {
			out = append(out, path[i])
		}
	}
	return string(out)
}

// cutLastParams cuts ;parameters off the last segment alone, as Python's urlparse does.
func cutLastParams(path string) string {
	last := strings.LastIndexByte(path, '/') + 1
	if i := strings.IndexByte(path[last:], ';'); i >= 0 {
		return path[:last+i]
	}
	return path
}

// cutAll ends the path at the first semicolon, as Apache Shiro does.
func cutAll(path string) string { return before(path, ";") }

// cutQuery ends the path at the first question mark or number sign, as a second parser of URLs does.
func cutQuery(path string) string { return before(path, "?#") }

func before(path, end string) string {
	if i := strings.IndexAny(path, end); i >= 0 {
		return path[:i]
	}
	return path
}

// collapse makes one slash of several in a row.
func collapse(path string) string {
	out := make([]byte, 0, len(path))
	for i := range len(path) {
		if path[i] != '/' || i == 0 || path[i-1] != '/' {
			out = append(out, path[i])
		}
	}
	return string(out)
}

// trim drops white space around each segment, as matchers of patterns do, and dots at its end, as Windows does. A plus counts as a space,
// as in forms. A segment of dots alone keeps them.
func trim(path string) string {
	out := make([]byte, 0, len(path))
	for i, s := range strings.Split(path, "/") {
		if i > 0 {
			out = append(out, '/')
		}
		s = strings.Trim(s, " +")
		if end := len(strings.TrimRight(s, ". +")); end > 0 {
			s = s[:end]
		} else if i := strings.IndexByte(s, ' '); i >= 0 {
			s = s[:i]
		}
		out = append(out, s...)
	}
	return string(out)
}

// cutSessions drops segments such as (S(x)), which hold the session of ASP.NET.
func cutSessions(path string) string {
	out := make([]byte, 0, len(path))
	for i, s := range strings.Split(path, "/") {
		if strings.HasPrefix(s, "(") && strings.HasSuffix(s, "))") {
			continue
		}
		if i > 0 {
			out = append(out, '/')
		}
		out = append(out, s...)
	}
	return string(out)
}

// cutStreams cuts the name of a stream off each segment, such as ::$DATA, as NTFS does.
func cutStreams(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if name, rest, _ := strings.Cut(s, ":"); strings.HasPrefix(rest, ":") || strings.Contains(rest, ":$") || strings.HasPrefix(rest, "$") {
			segments[i] = name
		}
	}
	return strings.Join(segments, "/")
}

// plus writes spaces as +, as forms do.
func plus(path string) string { return strings.ReplaceAll(path, " ", "+") }
