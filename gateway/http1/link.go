package http1

import (
	"net"
	"sync/atomic"
	"time"
)

// link is a connection with a read buffer and deadlines that are cheap to renew. One goroutine reads it and one writes
// it at a time; interrupt may be called from any.
//
// A message's head stays where it was read, at the start of the buffer, for as long as the message is at work: pin keeps
// what comes later from overwriting it.
type link struct {
	conn net.Conn
	pool *buffers

	buf  []byte
	r, w int      // buf[r:w] is read from the connection but not consumed
	base int      // buf[:base] is pinned
	full bool     // the last read filled the buffer: more is waiting
	held [][]byte // buffers that were replaced while pinned

	readBy, writeBy time.Time // the deadlines that are set
	interrupted     atomic.Bool
}

// past is a deadline that makes reads return at once.
func past() time.Time { return time.Unix(1, 0) }

func (l *link) init(conn net.Conn, pool *buffers) {
	l.conn, l.pool, l.buf = conn, pool, pool.get(smallBuffer)
}

// buffered is what has been read but not consumed. It stays valid until the next fill.
func (l *link) buffered() []byte { return l.buf[l.r:l.w] }

// discard consumes n bytes.
func (l *link) discard(n int) { l.r += n }

// pin consumes n bytes and keeps them where they are until unpin.
func (l *link) pin(n int) {
	l.r += n
	l.base = l.r
}

// unpin gives up what is pinned, and returns to a small buffer if what is left fits.
func (l *link) unpin() {
	for i, b := range l.held {
		l.pool.put(b)
		l.held[i] = nil
	}
	l.held, l.base = l.held[:0], 0
	left := l.buf[l.r:l.w]
	if len(l.buf) > smallBuffer && len(left) <= smallBuffer {
		small := l.pool.get(smallBuffer)
		l.w = copy(small, left)
		l.pool.put(l.buf)
		l.buf = small
	} else if l.r > 0 {
		l.w = copy(l.buf, left)
	}
	l.r, l.full = 0, false
}

// widen makes place for streaming: fills bring in more at a time.
func (l *link) widen() {
	if len(l.buf)-l.base < wideBuffer {
		l.replace(wideBuffer)
	}
}

// fill reads once from the connection, behind what is buffered.
func (l *link) fill() error {
	if l.full || l.w == len(l.buf) || l.r == l.w {
		l.makeRoom()
	}
	n, err := l.conn.Read(l.buf[l.w:])
	l.w += n
	l.full = l.w == len(l.buf)
	if n > 0 {
		return nil // an error that came with data comes again
	}
	return err
}

// makeRoom moves what is buffered to the front, or to a larger buffer where that wins too little.
func (l *link) makeRoom() {
	const worth = 512
	if l.r > l.base {
		l.w = l.base + copy(l.buf[l.base:], l.buf[l.r:l.w])
		l.r = l.base
	}
	if len(l.buf)-l.w >= worth && (!l.full || len(l.buf) >= wideBuffer) {
		return
	}
	size := wideBuffer
	if l.w-l.r >= wideBuffer-worth {
		size = max(hugeBuffer, 2*(l.w-l.r))
	}
	l.replace(size)
}

func (l *link) replace(size int) {
	bigger := l.pool.get(size)
	n := copy(bigger, l.buf[l.r:l.w])
	if l.base > 0 {
		l.held = append(l.held, l.buf)
	} else {
		l.pool.put(l.buf)
	}
	l.buf, l.r, l.w, l.base, l.full = bigger, 0, n, 0, false
}

// release gives the buffers back. The link is not used after that.
func (l *link) release() {
	l.unpin()
	l.pool.put(l.buf)
	l.buf = nil
}

// slack is how much a deadline of d may be off, so that setting it can be left out most of the time: a deadline costs more
// than the rest of a small request's bookkeeping.
func slack(d time.Duration) time.Duration { return min(d/8, time.Second) }

// readWithin has reads fail from about d on; 0 is never.
func (l *link) readWithin(d time.Duration) {
	var by time.Time
	if d > 0 {
		by = time.Now().Add(d)
	}
	if d > 0 && !l.readBy.IsZero() && by.Sub(l.readBy).Abs() <= slack(d) || d == 0 && l.readBy.IsZero() {
		return
	}
	l.readUntil(by)
}

// readUntil has reads fail from that time on; the zero time is never. An interrupt wins over it.
func (l *link) readUntil(by time.Time) {
	l.readBy = by
	_ = l.conn.SetReadDeadline(by) // fails on a closed connection only, as the read will
	if l.interrupted.Load() {
		_ = l.conn.SetReadDeadline(past())
	}
}

// interrupt makes the read that is under way, and all to come, fail with a timeout until resume.
func (l *link) interrupt() {
	l.interrupted.Store(true)
	_ = l.conn.SetReadDeadline(past())
}

// resume ends an interrupt. The reader calls it.
func (l *link) resume() {
	l.interrupted.Store(false)
	l.readBy = past()
}

// write sends b. A peer that doesn't take a piece of maxWrite bytes within d is given up; 0 is for ever.
func (l *link) write(b []byte, d time.Duration) (int, error) {
	const maxWrite = 64 << 10
	sent := 0
	for {
		l.writeWithin(d)
		n, err := l.conn.Write(b[sent:min(len(b), sent+maxWrite)])
		if sent += n; err != nil || sent == len(b) {
			return sent, err
		}
	}
}

func (l *link) writeWithin(d time.Duration) {
	var by time.Time
	if d > 0 {
		by = time.Now().Add(d)
	}
	if d > 0 && !l.writeBy.IsZero() && by.Sub(l.writeBy).Abs() <= slack(d) || d == 0 && l.writeBy.IsZero() {
		return
	}
	l.writeBy = by
	_ = l.conn.SetWriteDeadline(by)
}

// closeWrite tells the peer that nothing more comes, where the connection can.
func (l *link) closeWrite() error {
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return l.conn.Close()
}

// reset closes the connection so that the peer sees it break, not end: what was being sent is not complete.
func (l *link) reset() {
	conn := l.bare() // past TLS, whose close would say goodbye properly
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = conn.Close()
}

// bound has the system keep about so many bytes at most that the peer hasn't taken.
func (l *link) bound(bytes int) {
	if t, ok := l.bare().(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(bytes) // a connection that is closed has nothing to bound
	}
}

// bare is the connection below TLS.
func (l *link) bare() net.Conn {
	conn := l.conn
	for {
		t, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = t.NetConn()
	}
}
