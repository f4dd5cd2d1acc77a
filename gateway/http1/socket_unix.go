//go:build linux || darwin || freebsd || netbsd || openbsd

package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// watch prepares looks at the socket of nc.
func (s *socket) watch(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.raw = raw
	s.peek = func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case n > 0:
			s.seen = talking
		case errors.Is(err, syscall.EAGAIN):
			s.seen = quiet
		default:
			s.seen = ended
		}
	}
}

// receive reads what the socket has. If that is nothing, the error is os.ErrDeadlineExceeded.
func (s *socket) receive(b []byte) (n int, err error) {
	cerr := s.raw.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT)
	})
	switch {
	case cerr != nil:
		return 0, cerr
	case errors.Is(err, syscall.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, os.NewSyscallError("recvfrom", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
