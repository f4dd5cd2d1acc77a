package stock

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
	"micromesh/pkg/ident"
)

const (
	querySubject = "micro.nats.query"
	watchSubject = "micro.nats.watch"

	defaultInterval = 2 * time.Second
	defaultPatience = time.Second

	maxMessage = 1 << 20 // of what one service says of itself, bytes: go-micro's own limit, that of NATS
	backlog    = 1024    // of messages that were not read yet; more are left out until the next question
)

// Directory is where nodes are put. A *discovery.Registry is one.
type Directory interface {
	Register(*registry.Service, ...registry.RegisterOption) error
	Deregister(*registry.Service, ...registry.DeregisterOption) error
}

var _ Directory = (*discovery.Registry)(nil)

// Config of a bridge. NATS, Nodes, Taken, Address and Logger must be set.
type Config struct {
	NATS  *nats.Conn // which never gives up
	Nodes Directory
	Taken func() map[string]bool // names that no service may have which comes in
	// Address returns the reason why such a service can't have an address, "host:port", or nothing.
	Address func(hostPort string) string
	Logger  *slog.Logger

	OverNATS func() bool // whether services on go-micro's NATS transport can be called; nil is never

	Refusals Refusals // where refused services are published; nil is nowhere

	Owner func(ctx context.Context, name string) Owner // of a name; nil is nobody

	Logins bool // accounts have separate logins on NATS: see LoginSubject

	Offers func() []*registry.Service // what services may call, beside each other; nil is nothing. It is called by several goroutines.

	Interval time.Duration // between questions; default 2 s
	Patience time.Duration // with answers to one; default 1 s
}

// Owner is whom a name belongs to.
type Owner int

// The owners.
const (
	Nobody  Owner = iota
	Mesh          // the name is reserved
	Account       // an account or an organization has or had it, or one that looks like it
	Unknown       // it can't be told now
)

// Bridge brings services in.
type Bridge struct {
	cfg      Config
	guests   *guests
	heard    chan *nats.Msg // answers, and what is told without having been asked
	refusals refusals

	names  map[string]bool // that are taken, as of the last question
	owners map[string]Owner
	claims claims
	named  chan struct{} // signalled when a name may have become owned

	offered map[string]*registry.Service // with a node each, as of the last question
}

// New makes a bridge, which does nothing before Run.
func New(cfg Config) *Bridge {
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	return &Bridge{
		cfg: cfg, guests: newGuests(), heard: make(chan *nats.Msg, backlog), refusals: newRefusals(), owners: map[string]Owner{}, claims: newClaims(),
		named: make(chan struct{}, 1),
	}
}

// Recheck drops guests whose names have become others' meanwhile.
func (b *Bridge) Recheck() {
	select {
	case b.named <- struct{}{}:
	default: // it is due already
	}
}

// Run brings in whoever is there until ctx ends, and leaves what it has brought in to the leases of discovery: another process
// may bring it in as well, or this one again.
func (b *Bridge) Run(ctx context.Context) {
	inbox := b.cfg.NATS.NewInbox()
	subjects := []string{inbox, watchSubject}
	if b.cfg.Logins {
		subjects = append(subjects, LoginSubject+"*."+b.claims.nonce)
	}
	for _, subject := range subjects {
		sub, err := b.cfg.NATS.ChanSubscribe(subject, b.heard)
		if err != nil {
			b.cfg.Logger.Error("stock_bridge_failed", "error", err)
			return
		}
		defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	}
	stop, err := b.offer(inbox)
	if err != nil {
		b.cfg.Logger.Error("stock_bridge_failed", "error", err)
		return
	}
	defer stop()
	tick := time.NewTicker(b.cfg.Interval)
	defer tick.Stop()
	for {
		b.names = b.cfg.Taken()
		b.recheck(ctx)
		b.guests.ask()
		b.claimed()
		asked, err := b.ask(ctx, inbox)
		if err != nil && ctx.Err() == nil {
			b.cfg.Logger.Debug("stock_query_failed", "error", err)
		}
		b.listen(ctx, time.After(b.cfg.Patience))
		if asked && ctx.Err() == nil && b.cfg.NATS.IsConnected() {
			missed := b.guests.missed()
			b.drop(missed)
			b.retract(missed)
			b.retractOffers()
			b.allow()
		}
		b.listen(ctx, tick.C)
		if ctx.Err() != nil {
			return
		}
	}
}

// ask asks who is there, and tells whether the question has certainly reached the server.
func (b *Bridge) ask(ctx context.Context, inbox string) (bool, error) {
	if !b.cfg.NATS.IsConnected() {
		return false, nats.ErrConnectionReconnecting
	}
	question, err := json.Marshal(&registry.Result{Action: "list"})
	if err != nil {
		return false, fmt.Errorf("encode question: %w", err)
	}
	if err := b.cfg.NATS.PublishMsg(&nats.Msg{Subject: querySubject, Reply: inbox, Data: question}); err != nil {
		return false, fmt.Errorf("ask: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Patience)
	defer cancel()
	if err := b.cfg.NATS.FlushWithContext(ctx); err != nil {
		return false, fmt.Errorf("ask: %w", err)
	}
	return true, nil
}

// listen takes up what is heard until it is time, or ctx ends.
func (b *Bridge) listen(ctx context.Context, until <-chan time.Time) {
	for {
		select {
		case m := <-b.heard:
			b.take(ctx, m)
		case <-b.named:
			b.recheck(ctx)
		case <-until:
			return
		case <-ctx.Done():
			return
		}
	}
}

// take takes up one message. What is not understood was not said by go-micro.
func (b *Bridge) take(ctx context.Context, m *nats.Msg) {
	if len(m.Data) > maxMessage {
		b.refuse(nameIn(m.Data), fmt.Sprintf("it describes itself in %d bytes, and at most %d are read: register fewer methods, or types with fewer fields", len(m.Data), maxMessage))
		return
	}
	if strings.HasPrefix(m.Subject, LoginSubject) {
		b.prove(ctx, m)
		return
	}
	if m.Subject != watchSubject {
		var s *registry.Service
		if json.Unmarshal(m.Data, &s) == nil && s != nil {
			b.welcome(ctx, s, false)
		}
		return
	}
	var r *registry.Result
	if json.Unmarshal(m.Data, &r) != nil || r == nil || r.Service == nil {
		return
	}
	if r.Action == "delete" {
		if retracted(r.Service) {
			return // each bridge sees for itself
		}
		b.drop(b.guests.leave(r.Service))
		return
	}
	b.welcome(ctx, r.Service, false)
}

// welcome brings in the nodes of a service that may come in. Proven is whether the login of the account of its name has said so.
func (b *Bridge) welcome(ctx context.Context, s *registry.Service, proven bool) {
	for _, n := range s.Nodes {
		if n == nil || n.Metadata[discovery.Via] == viaMesh {
			continue // another bridge, or this one, has said so
		}
		if isBroker(n) {
			continue // its subscribers are for other programs' brokers alone
		}
		g, why := newGuest(s, n)
		if why == "" {
			if g.proven = proven; b.guests.proven(g) && !proven {
				continue // only answers of its login count
			}
			why = b.taken(ctx, g)
		}
		if why == "" && !b.guests.room(g) {
			why = fmt.Sprintf("there are %d services of %d nodes at most", maxServices, maxNodes)
		}
		if why == whyAccount && b.cfg.Logins {
			b.claims.claim(s.Name)
		}
		if why != "" {
			b.refuse(s.Name, why, "address", n.Address)
			continue
		}
		if !b.guests.seen(g) {
			continue
		}
		if err := b.cfg.Nodes.Register(g.Service); err != nil { // discovery writes it once NATS is back
			b.cfg.Logger.Warn("stock_node_not_registered", "node", n.Id, "error", err)
		}
	}
}

const (
	whyMesh    = "the name is a slug of the mesh's own, or of an account's"
	whyAccount = "the name is an account's, or that of a definition or a permit, or reads like it: choose another name for the service, or connect by the account's own login"
	whyNATS    = "it is on the NATS transport, on which no gateway calls services: set MICRO_STOCK_NATS of the gateways, or start it without MICRO_TRANSPORT and MICRO_PROFILE"
	whyUnknown = "it is not known yet whether an account has the name"
)

// taken returns the reason why a name or an address can't be a guest's; empty if it can.
func (b *Bridge) taken(ctx context.Context, g *guest) string {
	if b.names[g.Name] || b.names[ident.Fold(g.Name)] {
		return whyMesh
	}
	if why := b.cfg.Address(strings.ToLower(g.Nodes[0].Address)); why != "" {
		return why
	}
	if g.Nodes[0].Metadata["transport"] == "nats" && (b.cfg.OverNATS == nil || !b.cfg.OverNATS()) {
		return whyNATS
	}
	switch b.owner(ctx, g.Name) {
	case Mesh:
		return whyMesh
	case Account:
		if !g.proven {
			return whyAccount
		}
	case Unknown:
		return whyUnknown
	case Nobody:
	}
	return ""
}

// owner returns the owner of a name, which is asked once between two questions.
func (b *Bridge) owner(ctx context.Context, name string) Owner {
	if b.cfg.Owner == nil {
		return Nobody
	}
	if o, ok := b.owners[name]; ok {
		return o
	}
	if len(b.owners) >= maxOwners {
		return Unknown // somebody makes up names
	}
	o := b.cfg.Owner(ctx, name)
	b.owners[name] = o
	return o
}

// recheck drops those whose name or address has become another's since. A guest stays while that can't be told.
func (b *Bridge) recheck(ctx context.Context) {
	clear(b.owners)
	b.drop(b.guests.remove(func(g *guest) bool {
		why := b.taken(ctx, g)
		if why == "" || why == whyUnknown {
			return false
		}
		b.refuse(g.Name, why)
		return true
	}))
}

func (b *Bridge) drop(gone []*guest) {
	for _, g := range gone {
		b.cfg.Logger.Info("stock_node_left", "node", g.Nodes[0].Id)
		if err := b.cfg.Nodes.Deregister(g.Service); err != nil { // its lease ends
			b.cfg.Logger.Warn("stock_node_not_deregistered", "node", g.Nodes[0].Id, "error", err)
		}
	}
}
