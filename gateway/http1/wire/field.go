package wire

import "bytes"

// ID tells the fields apart that a proxy has to act on. All others are Other.
type ID uint8

// The fields that framing and forwarding look at.
const (
	Other ID = iota
	Host
	Date
	Connection
	ContentLength
	TransferEncoding
	Expect
	Upgrade
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TE
	Trailer
	HTTP2Settings
)

// Field is a field line of a message, as it was sent, white space around the value cut off.
type Field struct {
	Name, Value []byte
	ID          ID
}

// Fields are the field lines of a message in the order in which they came.
type Fields []Field

// Get gives the first value of the field with that name, which is in lower case, or nil.
func (f Fields) Get(lower string) []byte {
	for i := range f {
		if EqualFold(f[i].Name, lower) {
			return f[i].Value
		}
	}
	return nil
}

// Has reports whether there is a field with that name, which is in lower case.
func (f Fields) Has(lower string) bool {
	for i := range f {
		if EqualFold(f[i].Name, lower) {
			return true
		}
	}
	return false
}

// Identify finds the ID of a name.
func Identify(name []byte) ID {
	known := func(lower string, id ID) ID {
		if EqualFold(name, lower) {
			return id
		}
		return Other
	}
	switch len(name) {
	case 2:
		return known("te", TE)
	case 4:
		return max(known("host", Host), known("date", Date))
	case 6:
		return known("expect", Expect)
	case 7:
		return max(known("upgrade", Upgrade), known("trailer", Trailer))
	case 10:
		return max(known("connection", Connection), known("keep-alive", KeepAlive))
	case 14:
		return max(known("content-length", ContentLength), known("http2-settings", HTTP2Settings))
	case 16:
		return known("proxy-connection", ProxyConnection)
	case 17:
		return known("transfer-encoding", TransferEncoding)
	case 18:
		return known("proxy-authenticate", ProxyAuthenticate)
	case 19:
		return known("proxy-authorization", ProxyAuthorization)
	}
	return Other
}

// appendFields reads the field lines of a section, which ends in an empty line, onto dst. It refuses folded lines,
// white space before the colon, names that are no tokens, values with control bytes, and more than limit lines.
func appendFields(dst Fields, section []byte, limit int) (Fields, error) {
	for {
		line, rest, err := cutLine(section)
		if err != nil || len(line) == 0 {
			return dst, err
		}
		if len(dst) >= limit {
			return dst, headerTooLarge("too many header fields")
		}
		f, err := parseField(line)
		if err != nil {
			return dst, err
		}
		dst, section = append(dst, f), rest
	}
}

func parseField(line []byte) (Field, error) {
	if line[0] == ' ' || line[0] == '\t' {
		return Field{}, malformed("a header line is folded; send each field on one line")
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return Field{}, malformed("a header line has no colon")
	}
	name, val := line[:colon], trim(line[colon+1:])
	if !IsToken(name) {
		return Field{}, malformed("a header's name is not a token")
	}
	if !IsValue(val) {
		return Field{}, malformed("a header's value has a control character")
	}
	return Field{Name: name, Value: val, ID: Identify(name)}, nil
}

// cutLine cuts the first line off b. The line comes without its CRLF; one that ends in a bare LF is an error, and so is
// one that does not end.
func cutLine(b []byte) (line, rest []byte, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, malformed("a line does not end in CRLF")
	}
	return b[:i-1], b[i+1:], nil
}
