// Package porttest finds free ports for processes that tests start a moment later.
//
// A port of which one only knows that it was free is nobody's: by the time that the process listens the system may have given it to a
// connection of another program. So these are below the range that systems give to connections (32768 and up on Linux), and each
// program that asks begins at another one.
package porttest

import (
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

const (
	first = 20_000
	count = 12_000
	step  = 131 // between where two programs begin whose process ids are neighbours
)

var given atomic.Uint32 //nolint:gochecknoglobals // ports are shared by the whole program

// Free is an address of loopback, "127.0.0.1:port", at which nobody listens right now, and which this program was not given before.
func Free(tb testing.TB) string {
	tb.Helper()
	begin := uint32(os.Getpid()) * step % count //nolint:gosec // process ids are positive
	for range count {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(first+(begin+given.Add(1))%count)))
		ln, err := net.Listen("tcp", address) //nolint:noctx // it is closed at once
		if err != nil {
			continue
		}
		_ = ln.Close()
		return address
	}
	tb.Fatal("no port is free")
	return ""
}
