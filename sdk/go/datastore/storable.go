package datastore

import (
	"bytes"
	"strconv"

	"micromesh/pkg/errs"
)

// maxDepth is how deeply values may be nested in a document. SQLite reads 1000.
const maxDepth = 500

// storable tells whether both databases can hold a document, which is valid JSON.
//
// Errors: Invalid.
func storable(doc []byte) error {
	depth := 0
	for i := 0; i < len(doc); i++ {
		switch doc[i] {
		case '{', '[':
			if depth++; depth > maxDepth {
				return errs.Invalidf("the document is nested deeper than %d", maxDepth)
			}
		case '}', ']':
			depth--
		case '"':
			end, err := storableText(doc, i+1)
			if err != nil {
				return err
			}
			i = end
		}
	}
	return nil
}

// storableText checks the text that begins at i, and gives where its closing quote is.
func storableText(doc []byte, i int) (end int, err error) {
	for doc[i] != '"' {
		if doc[i] != '\\' {
			i++
			continue
		}
		if doc[i+1] != 'u' {
			i += 2
			continue
		}
		switch code := escaped(doc[i:]); {
		case code == 0:
			return 0, errs.Invalidf("a text of the document holds the character U+0000, which can't be stored")
		case 0xD800 <= code && code < 0xDC00 && bytes.HasPrefix(doc[i+6:], []byte(`\u`)) && escaped(doc[i+6:])&0xFC00 == 0xDC00:
			i += 6 // a pair
		case 0xD800 <= code && code < 0xE000:
			return 0, errs.Invalidf("a text of the document holds half a surrogate pair, which can't be stored")
		}
		i += 6
	}
	return i, nil
}

// escaped gives the code of an escape \uXXXX that b begins with.
func escaped(b []byte) uint64 {
	code, _ := strconv.ParseUint(string(b[2:6]), 16, 16) // valid JSON has four digits there
	return code
}
