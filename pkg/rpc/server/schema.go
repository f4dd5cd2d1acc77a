package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/pkg/schema"
)

// firstPut is how long a start waits for the schema to be published: so those who hear of the node find its schema. Where
// it takes longer the server starts all the same.
const firstPut = 2 * time.Second

// describe makes the schema of the server's methods and names it in the node's metadata; nil where there is nothing to
// publish: no method has an HTTP binding.
func describe(cfg Config, node map[string]string) (*schema.Publisher, error) {
	if cfg.JetStream == nil || !bound(cfg.Files) {
		return nil, nil
	}
	s, err := schema.Pack(cfg.Files...)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", cfg.Name, err)
	}
	node[schema.NodeHash] = s.Hash
	node[schema.NodeSince] = strconv.FormatInt(time.Now().UnixMilli(), 10)
	return schema.NewPublisher(cfg.JetStream, cfg.Logger, s), nil
}

// bound tells whether a method has an HTTP binding.
func bound(files []protoreflect.FileDescriptor) bool {
	for _, f := range files {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				if proto.HasExtension(methods.Get(j).Options(), annotations.E_Http) {
					return true
				}
			}
		}
	}
	return false
}

// publish keeps the schema published until stop is called, and waits a moment for the first time.
func (s *Server) publish(ctx context.Context) (stop func()) {
	if s.schema == nil {
		return func() {}
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.schema.Run(run)
	}()
	timer := time.NewTimer(firstPut)
	defer timer.Stop()
	select {
	case <-s.schema.Published():
	case <-timer.C:
	case <-ctx.Done():
	}
	return func() { cancel(); <-done }
}
