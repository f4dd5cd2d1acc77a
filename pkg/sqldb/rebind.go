package sqldb

import (
	"strconv"
	"strings"
)

// rebind writes the placeholders "?" as Postgres has them, "$1" and so on. Those in texts, quoted names and comments are none.
func rebind(query string) string {
	if !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	for n, i := 0, 0; i < len(query); {
		if query[i] == '?' {
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
			i++
			continue
		}
		end := i + span(query[i:], i > 0 && isWord(query[i-1]))
		b.WriteString(query[i:end])
		i = end
	}
	return b.String()
}

// span is the length of the token that s begins with: a whole text, quoted name or comment, or a single byte. inWord tells
// that s continues a word, in which a "$" quotes nothing.
func span(s string, inWord bool) int {
	switch {
	case s[0] == '\'':
		return quoted(s, '\'', false)
	case s[0] == '"':
		return quoted(s, '"', false)
	case (s[0] == 'E' || s[0] == 'e') && !inWord && strings.HasPrefix(s[1:], "'"):
		return 1 + quoted(s[1:], '\'', true)
	case strings.HasPrefix(s, "--"):
		return until(s, "\n")
	case strings.HasPrefix(s, "/*"):
		return comment(s)
	case s[0] == '$' && !inWord:
		return dollar(s)
	}
	return 1
}

// quoted is the length of a text in quotes, in which a doubled quote stands for itself, and maybe a backslash for what follows.
func quoted(s string, quote byte, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

// comment is the length of a comment; they nest.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(s)
}

// dollar is the length of a text in dollar quotes, $tag$…$tag$, or 1 if s begins with none.
func dollar(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '$':
			tag := s[:i+1]
			return len(tag) + until(s[len(tag):], tag)
		case !isWord(s[i]) || (i == 1 && '0' <= s[i] && s[i] <= '9'):
			return 1
		}
	}
	return 1
}

// until is the length of s up to and with end, or all of it.
func until(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// isWord tells whether c may be part of a name. Bytes beyond ASCII may.
func isWord(c byte) bool {
	return c == '_' || c >= 0x80 || ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z')
}
