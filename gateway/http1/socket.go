package http1

import (
	"net"
	"os"
	"syscall"
)

// sight is the result of a look at an idle connection.
type sight uint8

const (
	quiet   sight = iota // open, and nothing to read
	talking              // the upstream has sent bytes without a request
	ended                // closed, broken, or not possible to look at
)

// socket looks at a connection without waiting for it. Its zero value can't, and takes every connection for ended.
type socket struct {
	raw     syscall.RawConn
	peek    func(fd uintptr)
	seen    sight // by peek
	records *records
}

// look reports what lies on an idle connection: in its buffer, in TLS, and in its socket.
func (s *socket) look(l *link) sight {
	switch {
	case s.raw == nil:
		return ended
	case len(l.buffered()) > 0:
		return talking
	case s.records != nil:
		return s.records.look(l.conn)
	case s.raw.Control(s.peek) != nil:
		return ended
	}
	return s.seen
}

// records is the connection below TLS. It keeps track of where TLS records end, since TLS reads ahead: bytes that have
// arrived may lie in it, and only the peer's messages to TLS itself (session tickets, say) are no bytes of an answer.
type records struct {
	net.Conn
	socket  *socket
	looking bool
	over    bool // the last read while looking met the end of the connection or an error
	head    [5]byte
	have    int // bytes of head
	left    int // bytes of the record's body that are to come
}

// NetConn returns the connection below.
func (r *records) NetConn() net.Conn { return r.Conn }

// Read reads what TLS asks for. During a look it doesn't wait.
func (r *records) Read(b []byte) (n int, err error) {
	if r.looking {
		n, err = r.socket.receive(b)
		r.over = err != nil && err != os.ErrDeadlineExceeded //nolint:errorlint // receive returns it as it is
	} else {
		n, err = r.Conn.Read(b)
	}
	r.follow(b[:n])
	return n, err
}

// follow goes on over the next bytes of the stream.
func (r *records) follow(b []byte) {
	for len(b) > 0 {
		if r.left > 0 {
			n := min(len(b), r.left)
			r.left -= n
			b = b[n:]
			continue
		}
		n := copy(r.head[r.have:], b)
		r.have += n
		b = b[n:]
		if r.have == len(r.head) {
			r.have, r.left = 0, int(r.head[3])<<8|int(r.head[4])
		}
	}
}

// look makes TLS read all that is there. If that is nothing but whole messages to TLS itself, the connection is quiet.
func (r *records) look(conn net.Conn) sight {
	var b [1]byte
	r.looking, r.over = true, false
	n, err := conn.Read(b[:])
	r.looking = false
	switch {
	case n > 0 || r.have > 0 || r.left > 0:
		return talking
	case err == nil || r.over || !isTimeout(err):
		return ended
	}
	return quiet
}
