package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	microregistry "go-micro.dev/v5/registry"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"

	"micromesh/bench/internal/directory"
	"micromesh/pkg/rpc/client"
	"micromesh/registry/app"
)

// callers is how many calls are under way at once.
const callers = 64

// fleet is the instances: one listener, which has an address on loopback for each.
type fleet struct {
	rpc    *client.Client
	md     []metadata.MD // by service
	admin  metadata.MD
	bodies [][]byte // of the instances' registrations
	ln     net.Listener
	accept sync.WaitGroup
}

func newFleet(h hello, n int) (*fleet, error) {
	service := &microregistry.Service{Name: app.Name, Nodes: []*microregistry.Node{{Id: "registry", Address: h.Address}}}
	rpc, err := client.New(directory.Of(service), client.Config{Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	f := &fleet{rpc: rpc, admin: bearer(h.Tokens["admin"])}
	for i := range services {
		f.md = append(f.md, bearer(h.Tokens[slug(i)]))
	}
	if f.ln, err = net.Listen("tcp4", "0.0.0.0:0"); err != nil { // all of 127.0.0.0/8 leads here
		return nil, err
	}
	f.accept.Go(f.serve)
	port := f.ln.Addr().(*net.TCPAddr).Port
	for i := range n {
		f.bodies = append(f.bodies, fmt.Appendf(nil, `{"url":"http://127.1.%d.%d:%d"}`, i/250, i%250+1, port))
	}
	return f, nil
}

func bearer(token string) metadata.MD { return metadata.Pairs("authorization", "Bearer "+token) }

// serve accepts health checks.
func (f *fleet) serve() {
	for {
		conn, err := f.ln.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

func (f *fleet) close() {
	_ = f.ln.Close()
	f.accept.Wait()
	_ = f.rpc.Close()
}

// register registers an instance, or beats for it.
func (f *fleet) register(ctx context.Context, i int) error {
	_, _, err := f.rpc.Raw(ctx, app.Name, "RegistryService.RegisterInstance", "json", f.bodies[i], f.md[i%services])
	return err
}

// registerAll registers all instances as fast as it can.
func (f *fleet) registerAll(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(callers)
	for i := range f.bodies {
		g.Go(func() error { return f.register(ctx, i) })
	}
	err := g.Wait()
	return time.Since(start), err
}

// beat lets each instance beat at its own moment of every interval.
func (f *fleet) beat(ctx context.Context, every, length time.Duration) (int, error) {
	var beats atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(callers)
	gap := every / time.Duration(len(f.bodies))
	for start, n := time.Now(), 0; time.Since(start) < length && ctx.Err() == nil; n++ {
		if ahead := time.Duration(n)*gap - time.Since(start); ahead > time.Millisecond {
			time.Sleep(ahead)
		}
		g.Go(func() error {
			beats.Add(1)
			return f.register(ctx, n%len(f.bodies))
		})
	}
	err := g.Wait()
	return int(beats.Load()), err
}

// settle waits until all instances are healthy.
func (f *fleet) settle(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	for {
		_, healthy, err := f.count(ctx)
		if err != nil || healthy == len(f.bodies) {
			return time.Since(start), err
		}
		if time.Since(start) > time.Minute {
			return 0, fmt.Errorf("only %d of %d instances became healthy in a minute", healthy, len(f.bodies))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// count gives how many instances there are, and how many are healthy.
func (f *fleet) count(ctx context.Context) (all, healthy int, err error) {
	b, _, err := f.rpc.Raw(ctx, app.Name, "RegistryService.ListInstances", "json", []byte(`{"scheme":"http"}`), f.admin)
	if err != nil {
		return 0, 0, fmt.Errorf("list instances: %w", err)
	}
	var list struct {
		Instances []struct{ Status string }
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return 0, 0, err
	}
	for _, in := range list.Instances {
		if in.Status == "Healthy" {
			healthy++
		}
	}
	return len(list.Instances), healthy, nil
}
