//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package http1

import "net"

// watchSocket does nothing: sockets can't be looked at here.
func (up *upstreamConn) watchSocket(net.Conn) {}

// alive takes every connection for alive.
func (up *upstreamConn) alive() bool { return true }
