//go:build linux || darwin || freebsd || netbsd || openbsd

package http1

import (
	"errors"
	"net"
	"syscall"
)

// watchSocket prepares alive, which is to look at the socket of nc.
func (up *upstreamConn) watchSocket(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	up.raw = raw
	up.peek = func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		up.dead = !errors.Is(err, syscall.EAGAIN) // there is an end, an error, or something that nobody asked for
	}
}

// alive reports whether the connection, which is idle, can be used: the upstream has neither closed it nor sent anything.
func (up *upstreamConn) alive() bool {
	if up.raw == nil {
		return true
	}
	return up.raw.Control(up.peek) == nil && !up.dead
}
