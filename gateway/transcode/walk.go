package transcode

// walker goes through a JSON value byte by byte, without decoding it. It accepts more than JSON is, but never panics and always ends. It sets
// bad if it can't go on.
type walker struct {
	b     []byte
	at    int
	depth int
	bad   bool
}

// peek skips white space and returns the byte that follows; 0 at the end.
func (w *walker) peek() byte {
	for ; w.at < len(w.b); w.at++ {
		switch w.b[w.at] {
		case ' ', '\t', '\r', '\n':
		default:
			return w.b[w.at]
		}
	}
	return 0
}

// take skips one byte that must be c.
func (w *walker) take(c byte) {
	if w.peek() != c {
		w.lose()
		return
	}
	w.at++
}

// lose gives up.
func (w *walker) lose() { w.bad, w.at = true, len(w.b) }

// text skips a string, and returns it with its quotes.
func (w *walker) text() []byte {
	w.take('"')
	start := w.at - 1
	for ; w.at < len(w.b); w.at++ {
		switch w.b[w.at] {
		case '\\':
			w.at++
		case '"':
			w.at++
			return w.b[start:w.at]
		}
	}
	w.lose()
	return nil
}

// members calls visit for each member of an object, with the name in its quotes. Visit skips the value.
func (w *walker) members(visit func(name []byte)) {
	w.entries('{', '}', func() {
		name := w.text()
		w.take(':')
		if !w.bad {
			visit(name)
		}
	})
}

// elements calls visit for each element of a list. Visit skips it.
func (w *walker) elements(visit func()) { w.entries('[', ']', visit) }

func (w *walker) entries(opens, closes byte, visit func()) {
	w.take(opens)
	if w.depth++; w.depth > maxDepth {
		w.lose()
	}
	defer func() { w.depth-- }()
	if w.peek() == closes {
		w.at++
		return
	}
	for !w.bad {
		if visit(); w.peek() == closes {
			w.at++
			return
		}
		w.take(',')
	}
}

// skip skips a value.
func (w *walker) skip() {
	switch w.peek() {
	case '{':
		w.members(func([]byte) { w.skip() })
	case '[':
		w.elements(w.skip)
	case '"':
		w.text()
	default:
		w.word()
	}
}

// word skips a number, true, false or null.
func (w *walker) word() {
	start := w.at
	for ; w.at < len(w.b); w.at++ {
		switch w.b[w.at] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			if w.at == start {
				w.lose()
			}
			return
		}
	}
}
