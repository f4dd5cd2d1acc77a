package app

import (
	"context"
	"log/slog"
	"os"
	"time"

	nodereader "micromesh/registry/node"
	"micromesh/registry/service"
)

// nodeInterval is how often the machine's usage is read and stored.
const nodeInterval = 10 * time.Second

// node is the machine that this process runs on.
type node struct {
	is     service.Node
	svc    *service.Service
	reader *nodereader.Reader
	log    *slog.Logger
}

func newNode(cfg Config, svc *service.Service, log *slog.Logger) *node {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	n := &node{svc: svc, reader: nodereader.New(os.DirFS("/proc"), "/"), log: log}
	n.is = service.Node{ID: name, URL: cfg.NodeURL, Region: cfg.Region, AvailabilityZone: cfg.AvailabilityZone}
	if n.is.URL == "" {
		n.is.URL = "http://" + name
	}
	return n
}

// Node implements handler.Self.
func (n *node) Node() service.Node {
	now := n.is
	now.Usage = n.reader.Usage()
	now.LastHeartbeat = time.Now()
	return now
}

// run stores how the machine is doing, until ctx ends.
func (n *node) run(ctx context.Context) {
	tick := time.NewTicker(nodeInterval)
	defer tick.Stop()
	for {
		if err := n.svc.SaveNode(ctx, n.Node()); err != nil && ctx.Err() == nil {
			n.log.Warn("node_not_saved", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
