package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go-micro.dev/v5/broker"
	mclient "go-micro.dev/v5/client"
	cgrpc "go-micro.dev/v5/client/grpc"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/registry"
	"go-micro.dev/v5/selector"
	"go-micro.dev/v5/server"
	sgrpc "go-micro.dev/v5/server/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"micromesh/bench/internal/child"
	"micromesh/bench/internal/directory"
	"micromesh/bench/internal/load"
	"micromesh/pkg/rpc/client"
)

// play is what a process does until its parent lets it go.
func play(ctx context.Context, role, address string, callers int) error {
	if role == "grpc-server" || role == "http-server" {
		return serve(role)
	}
	call, err := caller(role, address)
	if err != nil {
		return err
	}
	return child.Obey("ready", func(order string) (any, error) {
		d, err := time.ParseDuration(order)
		if err != nil {
			return nil, err
		}
		return load.Run(ctx, callers, d, func(ctx context.Context, _ int) (func() error, func(), error) {
			return func() error { return call(ctx) }, func() {}, nil
		})
	})
}

// Echo is the handler.
type Echo struct{}

// Say answers what it got.
func (Echo) Say(_ context.Context, in, out *wrapperspb.BytesValue) error { //nolint:unparam // the shape of a handler
	out.Value = in.GetValue()
	return nil
}

func serve(role string) error {
	opts := []server.Option{
		server.Name("echo"), server.Id("1"), server.Address("127.0.0.1:0"), server.Registry(registry.NewMemoryRegistry()),
		server.Broker(broker.NewMemoryBroker()), server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
	}
	var s server.Server
	if role == "grpc-server" {
		s = sgrpc.NewServer(opts...)
	} else {
		s = server.NewServer(opts...)
	}
	if err := s.Handle(s.NewHandler(Echo{})); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	return errors.Join(child.Ready(s.Options().Address), s.Stop())
}

// message is what is sent, 99 bytes when encoded; every answer must equal it.
func message() *wrapperspb.BytesValue { return wrapperspb.Bytes(bytes.Repeat([]byte("x"), 97)) }

// caller gives the function that makes one call.
func caller(role, address string) (func(context.Context) error, error) {
	service := &registry.Service{Name: "echo", Version: "1", Nodes: []*registry.Node{{Id: "1", Address: address}}}
	var c mclient.Client
	switch role {
	case "ours", "ours-raw":
		ours, err := client.New(directory.Of(service), client.Config{})
		if err != nil {
			return nil, err
		}
		if role == "ours-raw" {
			return rawCall(ours)
		}
		c = ours
	case "micro-grpc", "micro-http":
		reg := registry.NewMemoryRegistry()
		if err := reg.Register(service); err != nil {
			return nil, err
		}
		opts := []mclient.Option{mclient.Registry(reg), mclient.Selector(selector.NewSelector(selector.Registry(reg)))}
		if role == "micro-grpc" {
			c = cgrpc.NewClient(opts...)
		} else {
			c = mclient.NewClient(opts...)
		}
	default:
		return nil, fmt.Errorf("there is no role %q", role)
	}
	in := message()
	return func(ctx context.Context) error {
		var got wrapperspb.BytesValue
		if err := c.Call(ctx, c.NewRequest("echo", "Echo.Say", in), &got); err != nil {
			return err
		}
		return same(in.GetValue(), got.GetValue())
	}, nil
}

func rawCall(c *client.Client) (func(context.Context) error, error) {
	in, err := proto.Marshal(message())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		got, _, err := c.Raw(ctx, "echo", "Echo.Say", "proto", in, nil)
		if err != nil {
			return err
		}
		return same(in, got)
	}, nil
}

func same(want, got []byte) error {
	if !bytes.Equal(want, got) {
		return fmt.Errorf("the answer has %d other bytes", len(got))
	}
	return nil
}
