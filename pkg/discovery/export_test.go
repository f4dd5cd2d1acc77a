package discovery

// For the tests of this package.
var (
	ParseKey = parseKey
	Decode   = decode
)
