package paths

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// toASCII replaces characters by the ASCII characters that servers take them for, and drops the ones that servers don't see: control
// characters, invisible ones, and invalid UTF-8. Other characters stay: literals of patterns are ASCII.
func toASCII(path string) string {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); {
		c := path[i]
		switch {
		case c < ' ' || c == 0x7f:
			i++
			continue
		case c < utf8.RuneSelf:
			out = append(out, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(path[i:])
		if r == utf8.RuneError && n <= 1 {
			if c, n = overlong(path[i:]); c != 0 {
				out = append(out, c)
			}
			i += n
			continue
		}
		out = appendASCII(out, r, path[i:i+n])
		i += n
	}
	return string(out)
}

// overlong decodes an ASCII character in a UTF-8 form that is longer than needed (RFC 3629, section 10), of 2 to 6 bytes. It returns
// 0 for all other bytes, and the number of bytes to skip.
func overlong(p string) (c byte, n int) {
	switch p[0] {
	case 0xc0, 0xc1:
		n, c = 2, p[0]&1
	case 0xe0:
		n = 3
	case 0xf0:
		n = 4
	case 0xf8:
		n = 5
	case 0xfc:
		n = 6
	default:
		return 0, 1
	}
	if len(p) < n {
		return 0, 1
	}
	for i := 1; i < n; i++ {
		if p[i]&0xc0 != 0x80 {
			return 0, 1
		}
	}
	for i := 1; i < n-2; i++ {
		if p[i] != 0x80 {
			return 0, 1
		}
	}
	if n > 2 {
		if p[n-2]&^1 != 0x80 {
			return 0, 1
		}
		c = p[n-2] & 1
	}
	return c<<6 | p[n-1]&0x3f, n
}

// alike returns the ASCII character that case folding, or the best fit of a code page, makes of a character that has no such
// decomposition; 0 for all others.
func alike(r rune) byte {
	switch r {
	case 'İ', 'ı': // upper and lower case of i, with and without the dot
		return 'i'
	case '⁄', '∕', '⧸':
		return '/'
	case '∖', '⧵', '⧹':
		return '\\'
	case '。', '｡':
		return '.'
	case '‐', '‑', '‒', '–', '—', '−':
		return '-'
	}
	if r > 0xa0 && unicode.IsSpace(r) { // line separators and Ogham's space have no decomposition
		return ' '
	}
	return 0
}

// invisible reports whether r shows nothing, so that some servers drop it: controls, format characters, and those that Unicode calls
// default ignorable (UAX 44).
func invisible(r rune) bool {
	return r > 0 && r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError ||
		unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// appendASCII appends the ASCII characters that r stands for, by compatibility decomposition (UAX 15) and alike; or r itself, whose
// encoding is s.
func appendASCII(out []byte, r rune, s string) []byte {
	if c := alike(r); c != 0 {
		return append(out, c)
	}
	decomposed := norm.NFKC.PropertiesString(s).Decomposition()
	if len(decomposed) == 0 {
		if invisible(r) {
			return out
		}
		return append(out, s...)
	}
	start := len(out)
	for len(decomposed) > 0 {
		d, n := utf8.DecodeRune(decomposed)
		decomposed = decomposed[n:]
		if invisible(d) {
			continue
		}
		c := alike(d)
		if c == 0 && d < utf8.RuneSelf {
			c = byte(d) //nolint:gosec // it is ASCII
		}
		if c == 0 {
			return append(out[:start], s...)
		}
		out = append(out, c)
	}
	return out
}
