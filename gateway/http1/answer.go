package http1

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"micromesh/gateway/http1/wire"
)

// joinBody is up to which size a body is copied behind its head, to be sent in one write.
const joinBody = 16 << 10

// answer is the state of an exchange's answer.
type answer struct {
	buf    []byte // rendered, but not written
	status int    // 0 as long as there is no answer
	sent   int64  // bytes written
	close  bool   // the connection ends with this answer
	broken bool   // the answer can't be completed: the connection must not end as if it were
	detour bool   // the connection went on in another protocol
}

// Respond answers with a whole body. HEAD requests, and statuses that have none, get the head only. A second answer to a
// request is logged and dropped.
func (x *Exchange) Respond(status int, contentType string, body []byte) {
	if !x.begin(status) {
		return
	}
	x.localHead(contentType, int64(len(body)))
	switch {
	case x.bodiless():
		x.flush()
	case len(body) <= joinBody:
		x.room(len(body))
		x.answer.buf = append(x.answer.buf, body...)
		x.flush()
	default:
		x.flush()
		x.send(body)
	}
}

// Fail answers with an error as Config.ErrorBody renders it. The message is one line that the client may see.
func (x *Exchange) Fail(status int, code, message string) {
	contentType, body := x.c.srv.cfg.ErrorBody(x, status, code, message)
	x.Respond(status, contentType, body)
}

// Refuse answers a request whose body could not be read, for the reason err. Where the client has gone, it gets nothing.
func (x *Exchange) Refuse(err error) {
	var refusal *wire.Error
	switch {
	case errors.As(err, &refusal):
		x.answer.close = x.answer.close || refusal.Status == http.StatusRequestTimeout
		x.Fail(refusal.Status, refusal.Code, refusal.Reason)
	case errors.Is(err, io.ErrUnexpectedEOF):
		x.answer.close = true
		x.Fail(http.StatusBadRequest, wire.CodeMalformed, "the body is shorter than announced")
	default:
		x.answer.broken = true
	}
}

// begin starts the answer, if there is none yet.
func (x *Exchange) begin(status int) bool {
	if x.answer.status != 0 || x.answer.broken {
		if !x.answer.broken {
			x.c.srv.cfg.Logger.Error("request answered twice", "status", x.answer.status, "second", status)
		}
		return false
	}
	if status < 200 || status > 599 {
		status = http.StatusInternalServerError
	}
	x.answer.status = status
	x.answer.close = x.answer.close || x.c.srv.draining.Load() || x.unread()
	return true
}

// bodiless reports whether the answer has no body, whatever its fields say.
func (x *Exchange) bodiless() bool {
	return string(x.req.Method) == http.MethodHead || wire.Bodiless(x.answer.status)
}

// room makes place for n more bytes of the answer.
func (x *Exchange) room(n int) {
	buf := x.answer.buf
	if cap(buf)-len(buf) >= n {
		return
	}
	bigger := x.c.srv.buffers.get(len(buf) + n)
	x.answer.buf = bigger[:copy(bigger, buf)]
	x.c.srv.buffers.put(buf)
}

// localHead renders the head of an answer that is made here. length is the body's, or wire.Chunked or wire.UntilClose.
func (x *Exchange) localHead(contentType string, length int64) {
	x.room(smallBuffer / 4)
	b := x.statusLine(x.answer.buf, x.answer.status, http.StatusText(x.answer.status))
	b = appendField(b, "Date", *x.c.srv.date.Load())
	b = x.header.appendTo(b)
	if contentType != "" && wire.IsValue([]byte(contentType)) {
		b = appendField(b, "Content-Type", contentType)
	}
	x.answer.buf = x.framing(b, length)
}

func (x *Exchange) statusLine(b []byte, status int, reason string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reason...)
	return append(b, "\r\n"...)
}

// framing renders the end of a head: the fields that say where the body ends and what becomes of the connection.
func (x *Exchange) framing(b []byte, length int64) []byte {
	switch {
	case x.answer.status < 200 || x.answer.status == http.StatusNoContent:
	case length >= 0:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, "\r\n"...)
	case length == wire.Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case x.answer.close:
		b = append(b, "Connection: close\r\n"...)
	case x.req.Minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...)
}

// flush writes what is rendered.
func (x *Exchange) flush() {
	if len(x.answer.buf) > 0 {
		x.send(x.answer.buf)
		x.answer.buf = x.answer.buf[:0]
	}
}

// send writes b to the client. Where that fails the answer is broken, and what else is sent is dropped.
func (x *Exchange) send(b []byte) {
	if x.answer.broken {
		return
	}
	n, err := x.c.in.write(b, x.c.srv.cfg.WriteTimeout)
	x.answer.sent += int64(n)
	if err != nil {
		x.answer.broken = true
		x.c.clientGone()
	}
}

// appendChunk renders data as a chunk; nothing at all for no data, which would be the last chunk.
func appendChunk(b, data []byte) []byte {
	if len(data) == 0 {
		return b
	}
	b = strconv.AppendInt(b, int64(len(data)), 16)
	b = append(b, "\r\n"...)
	b = append(b, data...)
	return append(b, "\r\n"...)
}
