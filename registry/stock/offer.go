package stock

import (
	"encoding/json"

	"github.com/nats-io/nats.go"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/discovery"
)

// viaMesh marks the nodes that a bridge offers, so that no bridge brings them in.
const viaMesh = "mesh"

// offer answers services that ask for what the mesh has, until stop is called: at once, since nobody waits for more than 100 ms. Questions
// of this bridge itself, which are answered to inbox, are none.
func (b *Bridge) offer(inbox string) (stop func(), err error) {
	if b.cfg.Offers == nil {
		return func() {}, nil
	}
	sub, err := b.cfg.NATS.Subscribe(querySubject, func(m *nats.Msg) {
		if m.Reply == "" || m.Reply == inbox || len(m.Data) > maxMessage {
			return
		}
		for _, s := range b.asked(m.Data) {
			answer, err := json.Marshal(s)
			if err != nil {
				continue // it can't be said in JSON, which is no fault of who asks
			}
			if err := b.cfg.NATS.Publish(m.Reply, answer); err != nil {
				b.cfg.Logger.Debug("stock_answer_failed", "error", err)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return func() { _ = sub.Unsubscribe() }, nil // the connection may be closed already
}

// retract publishes that nodes have gone which could not do so themselves. Programs forget them then: go-micro keeps a node for a minute
// unless it hears that.
func (b *Bridge) retract(gone []*guest) {
	for _, g := range gone {
		b.publishRemoval(g.Service)
	}
}

// retractOffers publishes which nodes of the mesh have gone since the last call.
func (b *Bridge) retractOffers() {
	if b.cfg.Offers == nil {
		return
	}
	now := map[string]*registry.Service{}
	for _, s := range b.cfg.Offers() {
		for _, n := range s.Nodes {
			now[discovery.Key(s.Name, n.Id)+" "+n.Address] = &registry.Service{Name: s.Name, Version: s.Version, Nodes: []*registry.Node{n}}
		}
	}
	for key, s := range b.offered {
		if now[key] == nil {
			b.publishRemoval(s)
		}
	}
	b.offered = now
}

func (b *Bridge) publishRemoval(s *registry.Service) {
	n := s.Nodes[0]
	removal, err := json.Marshal(&registry.Result{Action: "delete", Service: &registry.Service{
		Name: s.Name, Version: s.Version,
		Nodes: []*registry.Node{{Id: n.Id, Address: n.Address, Metadata: map[string]string{discovery.Via: viaMesh}}},
	}})
	if err == nil {
		err = b.cfg.NATS.Publish(watchSubject, removal)
	}
	if err != nil {
		b.cfg.Logger.Debug("stock_removal_not_published", "node", n.Id, "error", err)
	}
}

// retracted reports whether a bridge has published a removal, rather than the program itself.
func retracted(s *registry.Service) bool {
	return len(s.Nodes) > 0 && s.Nodes[0] != nil && s.Nodes[0].Metadata[discovery.Via] == viaMesh
}

// asked gives what a question asks for.
func (b *Bridge) asked(question []byte) []*registry.Service {
	var r *registry.Result
	if json.Unmarshal(question, &r) != nil || r == nil {
		return nil
	}
	var out []*registry.Service
	for _, s := range b.cfg.Offers() {
		if r.Action == "list" || r.Action == "get" && r.Service != nil && r.Service.Name == s.Name {
			out = append(out, s)
		}
	}
	return out
}

// Offer is a service of the mesh as services in plain go-micro find it: at the addresses by which they reach it, by the nodes' ids.
func Offer(name, version string, addresses map[string]string) *registry.Service {
	s := &registry.Service{Name: name, Version: version}
	for id, address := range addresses {
		s.Nodes = append(s.Nodes, &registry.Node{
			Id: name + "-" + id, Address: address,
			Metadata: map[string]string{"protocol": "mucp", "transport": "http", discovery.Via: viaMesh},
		})
	}
	return s
}
