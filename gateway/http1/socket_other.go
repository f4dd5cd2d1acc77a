//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package http1

import (
	"net"
	"os"
)

// watch does nothing: sockets can't be looked at here, so that connections aren't reused.
func (s *socket) watch(net.Conn) {}

// receive reads nothing.
func (s *socket) receive([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }
