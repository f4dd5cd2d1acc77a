package http1

import (
	"strconv"

	"micromesh/gateway/http1/wire"
)

// oneHop has a bit for each field that a proxy doesn't pass on: it is between two neighbours (RFC 9110 section 7.6.1), or
// rendered anew.
const oneHop uint32 = 1<<wire.Host | 1<<wire.Connection | 1<<wire.ContentLength | 1<<wire.TransferEncoding |
	1<<wire.Expect | 1<<wire.Upgrade | 1<<wire.KeepAlive | 1<<wire.ProxyConnection | 1<<wire.ProxyAuthenticate |
	1<<wire.ProxyAuthorization | 1<<wire.TE | 1<<wire.Trailer | 1<<wire.HTTP2Settings

// appendRequest renders the head of the forwarded request.
func (f *forwarding) appendRequest(b []byte) []byte {
	x, req := f.x, &f.x.req
	b = append(b, req.Method...)
	b = append(b, ' ')
	if string(req.Origin) != "*" {
		b = append(b, f.target.PathPrefix...)
	}
	if x.path != "" {
		b = append(append(b, x.path...), req.Origin[len(req.Path):]...)
	} else {
		b = append(b, req.Origin...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	switch {
	case f.target.Host != "":
		b = appendField(b, "Host", f.target.Host)
	case len(req.Host) > 0:
		b = appendField(b, "Host", req.Host)
	default:
		b = appendField(b, "Host", f.target.Address)
	}
	for i := range req.Fields {
		if field := &req.Fields[i]; f.passes(field) {
			b = appendField(b, field.Name, field.Value)
		}
	}
	b = append(b, "Via: 1.1 micromesh\r\n"...) // behind those of proxies in front (RFC 9110, section 7.6.3)
	b = x.appendForwarded(b)
	b = x.upstream.appendTo(b)
	return append(f.appendRequestFraming(b), "\r\n"...)
}

// passes reports whether the field of the client's request goes on to the upstream.
func (f *forwarding) passes(field *wire.Field) bool {
	if oneHop>>field.ID&1 != 0 {
		// What trailers there may be, and whether they are welcome, is the one thing that is passed on of these.
		return field.ID == wire.Trailer && f.x.req.Length == wire.Chunked && wire.IsValue(field.Value) ||
			field.ID == wire.TE && wire.EqualFold(field.Value, "trailers")
	}
	if f.u.cfg.Filter.Drops(field.Name) || len(f.x.req.Named) > 0 && f.x.req.Names(field.Name) {
		return false
	}
	if f.x.withheld != "" && wire.EqualFold(field.Name, f.x.withheld) || f.x.without != nil && f.x.without.Drops(field.Name) {
		return false
	}
	for i := range f.x.upstream.fields {
		if n, _ := f.x.upstream.At(i); len(n) == len(field.Name) && sameSpelling(field.Name, n) {
			return false
		}
	}
	return true
}

// appendForwarded renders where the request came from, as far as that is known or told by a trusted proxy.
func (x *Exchange) appendForwarded(b []byte) []byte {
	host, proto := x.req.Host, "http"
	if x.c.tls {
		proto = "https"
	}
	b = append(b, "X-Forwarded-For: "...)
	if x.c.trusted {
		for i := range x.req.Fields {
			if wire.EqualFold(x.req.Fields[i].Name, "x-forwarded-for") {
				b = append(b, x.req.Fields[i].Value...)
				b = append(b, ", "...)
			}
		}
		if p := x.Get("x-forwarded-proto"); wire.EqualFold(p, "https") || wire.EqualFold(p, "http") {
			proto = string(p)
		}
		if h := x.Get("x-forwarded-host"); wire.ValidHost(h) {
			host = h
		}
	}
	b = append(b, x.c.peer...)
	b = append(b, "\r\n"...)
	if len(host) > 0 {
		b = appendField(b, "X-Forwarded-Host", host)
	}
	return appendField(b, "X-Forwarded-Proto", proto)
}

// appendRequestFraming renders how the forwarded request's body ends, and the protocol that the connection may go on in.
func (f *forwarding) appendRequestFraming(b []byte) []byte {
	req := &f.x.req
	switch {
	case req.Length == wire.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case req.HasLength:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, req.Length, 10)
		b = append(b, "\r\n"...)
	}
	if f.expects {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	switch {
	case f.upgrade:
		b = append(b, "Connection: Upgrade\r\n"...)
		b = appendField(b, "Upgrade", req.Upgrade)
	case f.last:
		b = append(b, "Connection: close\r\n"...)
	}
	return b
}

// upgrades reports whether the protocol that the client asks for is one that is passed on. Requests with a body aren't
// upgraded.
func (f *forwarding) upgrades() bool {
	if f.x.req.Upgrade == nil || f.x.req.Length != 0 {
		return false
	}
	for _, p := range f.u.cfg.Upgrades {
		if sameName(f.x.req.Upgrade, p) {
			return true
		}
	}
	return false
}

// appendTrailers renders the end of a chunked body: the last chunk and those trailer fields that may be passed on.
func appendTrailers(b []byte, trailers wire.Fields, filter *HeaderFilter) []byte {
	b = append(b, "0\r\n"...)
	for i := range trailers {
		t := &trailers[i]
		if !forbiddenTrailer(t) && (filter == nil || !filter.Drops(t.Name)) {
			b = appendField(b, t.Name, t.Value)
		}
	}
	return append(b, "\r\n"...)
}
