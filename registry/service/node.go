package service

import (
	"context"
	"fmt"
	"time"
)

// Node is a machine that services run on.
type Node struct {
	ID               string
	URL              string
	Region           string
	AvailabilityZone string
	Usage            Usage
	LastHeartbeat    time.Time
}

// Usage is what a node has and uses of CPU (thousandths of a core), memory and disk (bytes).
type Usage struct {
	CPU    Gauge `json:"cpu"`
	Memory Gauge `json:"memory"`
	Disk   Gauge `json:"disk"`
}

// Gauge is one resource.
type Gauge struct {
	Percent float64 `json:"percent"`
	Total   float64 `json:"total"`
	Used    float64 `json:"used"`
}

// SaveNode takes note of a node.
//
// Errors: Unavailable.
func (s *Service) SaveNode(ctx context.Context, n Node) error {
	n.LastHeartbeat = s.cfg.Now()
	if err := s.store.SaveNode(ctx, n); err != nil {
		return fmt.Errorf("save node: %w", err)
	}
	return nil
}

// DeleteNode forgets a node by its URL. One that still runs comes back with its next heartbeat.
//
// Errors: NotFound; Unavailable.
func (s *Service) DeleteNode(ctx context.Context, url string) error {
	if err := s.store.DeleteNode(ctx, url); err != nil {
		return fmt.Errorf("delete node: %w", err)
	}
	return nil
}

// Nodes gives nodes by id, or all.
//
// Errors: Unavailable.
func (s *Service) Nodes(ctx context.Context, ids []string) ([]Node, error) {
	nodes, err := s.store.Nodes(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return nodes, nil
}
