package wire

import "bytes"

// The lengths of a body that are no number of bytes.
const (
	Chunked    int64 = -1 // the chunked coding tells where the body ends
	UntilClose int64 = -2 // the end of the connection does; in responses only
)

// Message is what requests and responses have in common.
type Message struct {
	Minor  int // of HTTP/1.Minor: 0 or 1
	Fields Fields

	// Length is the body's length: a number of bytes, Chunked or UntilClose.
	Length int64
	// HasLength tells a Content-Length of 0 from none at all.
	HasLength bool
	// Close says that the sender ends the connection after this message.
	Close bool
	// Named are the names that Connection makes hop-by-hop, other than close, keep-alive and upgrade.
	Named [][]byte
	// Upgrade is the protocol that Connection and Upgrade together ask for, or nil.
	Upgrade []byte
}

// Names reports whether Connection declares the field with that name hop-by-hop.
func (m *Message) Names(name []byte) bool {
	for _, n := range m.Named {
		if bytes.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// options is what the Connection field of a message says.
type options struct {
	close, keepAlive, upgrade bool
}

// frame reads the fields that say how long the body is and what becomes of the connection. A message that says so in
// more than one way is refused, whatever it says (RFC 9112 section 6.3 allows some, and smuggling lives from it).
func (m *Message) frame() error {
	var opts options
	var codings, lengths, upgrades int
	var unread error // of the transfer codings
	m.Length, m.HasLength, m.Upgrade, m.Named = 0, false, nil, m.Named[:0]
	for i := range m.Fields {
		f := &m.Fields[i]
		var err error
		switch f.ID {
		case ContentLength:
			lengths++
			m.HasLength = true
			m.Length, err = parseLength(f.Value)
		case TransferEncoding:
			codings++
			unread = readCodings(f.Value)
		case Connection:
			err = m.connection(f.Value, &opts)
		case Upgrade:
			upgrades++
			m.Upgrade = f.Value
		default:
		}
		if err != nil {
			return err
		}
	}
	m.Close = opts.close || m.Minor == 0 && !opts.keepAlive
	if !opts.upgrade || upgrades != 1 || m.Minor == 0 {
		m.Upgrade = nil
	}
	if err := m.checkFraming(codings, lengths); err != nil {
		return err
	}
	return unread
}

// readCodings reads a Transfer-Encoding field (RFC 9112, 6.1 and 6.3), of which only the chunked coding is understood. The end of a body
// is unknown unless chunked is its last coding, applied once.
func readCodings(list []byte) error {
	if EqualFold(list, "chunked") {
		return nil
	}
	chunked, several := 0, bytes.IndexByte(list, ',') >= 0
	var coding []byte
	for item := range bytes.SplitSeq(list, []byte{','}) {
		coding = trim(item)
		if !IsToken(coding) {
			return malformed("Transfer-Encoding is not a list of tokens")
		}
		if EqualFold(coding, "chunked") {
			chunked++
		}
	}
	if several && (chunked != 1 || !EqualFold(coding, "chunked")) {
		return malformed("Transfer-Encoding must end in chunked, and name it once")
	}
	return unsupportedCoding()
}

func (m *Message) checkFraming(codings, lengths int) error {
	switch {
	case codings > 0 && m.Minor == 0:
		return malformed("HTTP/1.0 has no Transfer-Encoding")
	case codings > 0 && lengths > 0:
		return malformed("the message has both Content-Length and Transfer-Encoding")
	case lengths > 1:
		return malformed("the message has more than one Content-Length")
	case codings > 1:
		return malformed("the message has more than one Transfer-Encoding")
	case codings == 1:
		m.Length = Chunked
	}
	return nil
}

// parseLength reads 1*DIGIT of at most 18 digits, so that no sum with it overflows.
func parseLength(b []byte) (int64, error) {
	if len(b) == 0 || len(b) > 18 {
		return 0, malformed("Content-Length is not a number of bytes")
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, malformed("Content-Length is not a number of bytes")
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// connection reads one Connection field.
func (m *Message) connection(list []byte, opts *options) error {
	for len(list) > 0 {
		var item []byte
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			item, list = list, nil
		}
		item = trim(item)
		switch {
		case len(item) == 0:
		case EqualFold(item, "close"):
			opts.close = true
		case EqualFold(item, "keep-alive"):
			opts.keepAlive = true
		case EqualFold(item, "upgrade"):
			opts.upgrade = true
		case !IsToken(item):
			return malformed("Connection is not a list of tokens")
		case endToEnd(item):
			return malformed("Connection names a header that is not for one hop only")
		default:
			m.Named = append(m.Named, item)
		}
	}
	return nil
}

// endToEnd reports whether a field must reach the other end, so that a Connection which names it is an attempt to have a
// proxy drop it.
func endToEnd(name []byte) bool {
	for _, n := range [...]string{
		"authorization", "cookie", "host", "origin", "content-length", "content-type", "content-encoding", "content-range",
		"transfer-encoding", "cache-control", "expect", "range", "date", "set-cookie", "location", "www-authenticate",
		"x-request-id", "traceparent", "idempotency-key",
	} {
		if EqualFold(name, n) {
			return true
		}
	}
	return false
}
