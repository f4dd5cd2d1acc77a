package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
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

	"micromesh/pkg/discovery"
	"micromesh/pkg/rpc/client"
)

// play is what a process does until its standard input ends.
func play(ctx context.Context, role, address string, callers int, out io.Writer) error {
	say := json.NewEncoder(out)
	if role == "grpc-server" || role == "http-server" {
		return serve(role, say)
	}
	call, err := caller(role, address)
	if err != nil {
		return err
	}
	if err := say.Encode("ready"); err != nil {
		return err
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		d, err := time.ParseDuration(orders.Text())
		if err != nil {
			return err
		}
		r, err := measure(ctx, call, callers, d)
		if err != nil {
			return err
		}
		if err := say.Encode(r); err != nil {
			return err
		}
	}
	return orders.Err()
}

// Echo is the handler.
type Echo struct{}

// Say answers what it got.
func (Echo) Say(_ context.Context, in, out *wrapperspb.BytesValue) error { //nolint:unparam // the shape of a handler
	out.Value = in.GetValue()
	return nil
}

func serve(role string, say *json.Encoder) error {
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
	if err := say.Encode(s.Options().Address); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Stop())
}

// message is what is sent, 99 bytes when encoded; every answer must equal it.
func message() *wrapperspb.BytesValue { return wrapperspb.Bytes(bytes.Repeat([]byte("x"), 97)) }

// caller gives the function that makes one call.
func caller(role, address string) (func(context.Context) error, error) {
	service := &registry.Service{Name: "echo", Version: "1", Nodes: []*registry.Node{{Id: "1", Address: address}}}
	var c mclient.Client
	switch role {
	case "ours", "ours-raw":
		ours, err := client.New(directory{discovery.NewService(service)}, client.Config{})
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

// directory knows one service.
type directory struct{ service *discovery.Service }

// Lookup gives it.
func (d directory) Lookup(string) *discovery.Service { return d.service }

// OnChange never calls: nothing changes.
func (directory) OnChange(func(string)) func() { return func() {} }

// measure calls for a while.
func measure(ctx context.Context, call func(context.Context) error, callers int, d time.Duration) (result, error) {
	before, err := cpu()
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	var calls atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for time.Since(start) < d && ctx.Err() == nil {
				if err := call(ctx); err != nil {
					failed.Store(&err)
					return
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	after, err := cpu()
	if err != nil {
		return result{}, err
	}
	if e := failed.Load(); e != nil {
		return result{}, *e
	}
	return result{Calls: int(calls.Load()), Took: took, CPU: after - before}, nil
}

// cpu is what this process has used.
func cpu() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
