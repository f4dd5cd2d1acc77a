package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"

	"micromesh/pkg/discovery"
	"micromesh/registry/service"
)

// changes is the subject on which registries tell each other what they have changed. Below mesh.<slug> nobody but the
// processes of that service may publish and subscribe.
const changes = "mesh." + Name + ".changed"

// peers are the registries that discovery knows. What they tell each other is a hint where to look: whoever misses it
// finds the change in the database some seconds later.
type peers struct {
	nodes *discovery.Registry
	nats  *nats.Conn
	self  string
	log   *slog.Logger

	mu     sync.Mutex
	untold map[string]bool
	woken  chan struct{}
}

var _ service.Peers = (*peers)(nil)

// hint is what is told.
type hint struct {
	From string   `json:"from"`
	IDs  []string `json:"ids"`
}

// mostHints bounds the ids of one message.
const mostHints = 1000

func newPeers(nodes *discovery.Registry, nc *nats.Conn, id string, log *slog.Logger) *peers {
	return &peers{nodes: nodes, nats: nc, self: Name + "-" + id, log: log, untold: map[string]bool{}, woken: make(chan struct{}, 1)}
}

// Mine implements service.Peers.
func (p *peers) Mine(piece string) bool { return p.nodes.Mine(Name, p.self, piece) }

// Alone implements service.Peers.
func (p *peers) Alone() bool {
	s := p.nodes.Lookup(Name)
	return s == nil || len(s.Nodes) == 0 || len(s.Nodes) == 1 && s.Nodes[0].ID == p.self
}

// Hears implements service.Peers.
func (p *peers) Hears() bool { return p.nats.IsConnected() }

// Tell implements service.Peers.
func (p *peers) Tell(ids ...string) {
	p.mu.Lock()
	for _, id := range ids {
		p.untold[id] = true
	}
	p.mu.Unlock()
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// run tells and listens until ctx ends.
func (p *peers) run(ctx context.Context, svc *service.Service) {
	told := make(chan *nats.Msg, 1024)
	sub, err := p.nats.ChanSubscribe(changes, told)
	if err != nil { // only where the connection was closed
		p.log.Error("peers_not_heard", "error", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.woken:
			p.publish()
		case m := <-told:
			p.learn(ctx, svc, m)
		}
	}
}

func (p *peers) publish() {
	p.mu.Lock()
	h := hint{From: p.self}
	for id := range p.untold {
		if len(h.IDs) == mostHints {
			break
		}
		h.IDs = append(h.IDs, id)
		delete(p.untold, id)
	}
	more := len(p.untold) > 0
	p.mu.Unlock()
	b, err := json.Marshal(h)
	if err == nil {
		err = p.nats.Publish(changes, b)
	}
	if err != nil {
		p.log.Warn("peers_not_told", "error", err)
	}
	if more {
		p.Tell()
	}
}

func (p *peers) learn(ctx context.Context, svc *service.Service, m *nats.Msg) {
	var h hint
	if err := json.Unmarshal(m.Data, &h); err != nil || len(h.IDs) > mostHints {
		p.log.Warn("hint_refused", "error", err)
		return
	}
	if h.From == p.self {
		return
	}
	if err := svc.Learn(ctx, h.IDs...); err != nil && ctx.Err() == nil {
		p.log.Warn("hint_not_followed", "error", err)
	}
}
