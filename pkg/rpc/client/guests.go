package client

import (
	"context"
	"net"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"

	"micromesh/pkg/netpolicy"
)

// control is the ControlContext of a dialer.
type control = func(ctx context.Context, network, address string, c syscall.RawConn) error

// guests is the dialling of services in plain go-micro: anyone who may publish on their NATS names their addresses.
type guests struct {
	control atomic.Pointer[control] // nil refuses what netpolicy.Never does
	dialer  net.Dialer
	dial    []grpc.DialOption
}

// check is the dialer's ControlContext.
func (g *guests) check(ctx context.Context, network, address string, c syscall.RawConn) error {
	if f := g.control.Load(); f != nil {
		return (*f)(ctx, network, address, c)
	}
	return netpolicy.NeverControl(ctx, network, address, c)
}

// ControlGuests sets the function that decides, at each dial and after names were resolved, whether to connect to a service in plain
// go-micro, as net.Dialer's ControlContext does. It holds for connections that are made afterwards.
func (c *Client) ControlGuests(f func(ctx context.Context, network, address string, c syscall.RawConn) error) {
	c.guests.control.Store(&f)
}
