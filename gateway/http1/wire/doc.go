// Package wire reads the syntax of HTTP/1.1 messages (RFC 9110, RFC 9112): heads, targets, hosts, framing and the
// chunked coding. It does no I/O and keeps no state beyond its receivers, so that a parser can be driven from a socket,
// a test or a fuzzer alike.
//
// It is strict where leniency is how requests are smuggled. Lines end in CRLF and nothing else, a message is framed in
// one way or refused, names are tokens, values hold no control bytes. What it accepts, any other careful parser reads
// the same way; what two parsers could read differently is an [*Error].
//
// Nothing is copied: fields, targets and data are slices of the bytes that were handed in, and live as long as those.
package wire
