package http1

import "sync"

// The sizes of pooled buffers: one that holds nearly every head and small body, one for streaming, and one for the
// largest heads.
const (
	smallBuffer = 4 << 10
	wideBuffer  = 32 << 10
	hugeBuffer  = 128 << 10
)

// buffers lends byte slices. Its zero value is ready.
type buffers struct {
	small, wide, huge sync.Pool
}

// get lends a buffer of at least n bytes, at its full length.
func (p *buffers) get(n int) []byte {
	switch {
	case n <= smallBuffer:
		if b, ok := p.small.Get().(*[smallBuffer]byte); ok {
			return b[:]
		}
		return make([]byte, smallBuffer)
	case n <= wideBuffer:
		if b, ok := p.wide.Get().(*[wideBuffer]byte); ok {
			return b[:]
		}
		return make([]byte, wideBuffer)
	case n <= hugeBuffer:
		if b, ok := p.huge.Get().(*[hugeBuffer]byte); ok {
			return b[:]
		}
		return make([]byte, hugeBuffer)
	}
	return make([]byte, n)
}

// put takes a buffer back. What has another size than get gives (since it was grown, or is nil) is left to the collector.
func (p *buffers) put(b []byte) {
	switch cap(b) {
	case smallBuffer:
		p.small.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case wideBuffer:
		p.wide.Put((*[wideBuffer]byte)(b[:wideBuffer]))
	case hugeBuffer:
		p.huge.Put((*[hugeBuffer]byte)(b[:hugeBuffer]))
	}
}
