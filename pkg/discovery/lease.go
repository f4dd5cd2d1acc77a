package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/errs"
	"micromesh/pkg/kv"
)

// sweep is how often leases are looked at.
const sweep = 250 * time.Millisecond

// registration is a node that this process registered.
type registration struct {
	key, id   string
	value     []byte
	seal      kv.Seal       // nil where it is not sealed
	signed    bool          // by this process's certificate
	ttl       time.Duration // 0: refreshed by the Registry until it is deregistered
	asked     time.Time     // when its owner registered it last
	refreshed time.Time     // when it was written last
}

// Register writes the service's nodes, or refreshes them. With a TTL they hold that long, and the caller registers
// them again in time, as go-micro's servers do; without one the Registry refreshes them until Deregister or Close.
// What could not be written for now is written when NATS is back, if it is still wanted then. Errors: errs.Invalid;
// errs.Unavailable.
func (r *Registry) Register(s *registry.Service, opts ...registry.RegisterOption) error {
	var o registry.RegisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	if o.TTL < 0 || o.TTL > r.cfg.MaxAge || o.TTL > 0 && o.TTL < time.Millisecond {
		return errs.Invalidf("the lease of %s must be between 1ms and %v, not %v", s.Name, r.cfg.MaxAge, o.TTL)
	}
	if len(s.Nodes) == 0 {
		return errs.Invalidf("service %s has no node to register", s.Name)
	}
	now := time.Now()
	var regs []*registration
	for _, n := range s.Nodes {
		seal, voucher, err := r.guestSeal(n)
		if err != nil {
			return errs.New(errs.Unavailable, "", "node %s could not be sealed", n.Id).Because(err)
		}
		key, value, err := encode(s, n, orDefault(o.TTL, r.cfg.TTL), voucher)
		if err != nil {
			return err
		}
		if len(value) > maxValue {
			return errs.Invalidf("the endpoints and metadata of %s are larger than %d bytes", s.Name, maxValue)
		}
		regs = append(regs, &registration{key: key, id: n.Id, value: value, seal: seal, signed: r.signs(n), ttl: o.TTL, asked: now})
	}
	r.mu.Lock()
	for _, reg := range regs {
		r.own[reg.key] = reg
	}
	r.mu.Unlock()
	for _, reg := range regs {
		if err := r.write(orBackground(o.Context), reg); err != nil {
			return err
		}
	}
	return nil
}

// Deregister deletes the service's nodes. Errors: errs.Unavailable, after which their leases run out.
func (r *Registry) Deregister(s *registry.Service, opts ...registry.DeregisterOption) error {
	var o registry.DeregisterOptions
	for _, opt := range opts {
		opt(&o)
	}
	for _, n := range s.Nodes {
		if err := check(s, n); err != nil {
			return err
		}
		r.mu.Lock()
		delete(r.own, Key(s.Name, n.Id))
		r.mu.Unlock()
		if err := r.erase(orBackground(o.Context), Key(s.Name, n.Id)); err != nil {
			return errs.New(errs.Unavailable, "", "node %s could not be deregistered", n.Id).Because(err)
		}
	}
	return nil
}

// write writes a registration that is still wanted.
func (r *Registry) write(ctx context.Context, reg *registration) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	wanted := r.own[reg.key] == reg
	r.mu.Unlock()
	if !wanted {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	value, err := reg.sealed(r.voucher)
	if err == nil {
		err = r.put(ctx, reg.key, value)
	}
	if err != nil {
		return errs.New(errs.Unavailable, "", "node %s could not be registered", reg.id).Because(err)
	}
	r.mu.Lock()
	reg.refreshed = time.Now()
	r.mu.Unlock()
	return nil
}

func (r *Registry) put(ctx context.Context, key string, value []byte) error {
	b, err := r.store(ctx)
	if err == nil {
		_, err = b.Put(ctx, key, value)
	}
	return err
}

func (r *Registry) erase(ctx context.Context, key string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	b, err := r.store(ctx)
	if err != nil {
		return err
	}
	return b.Delete(ctx, key)
}

// keep refreshes own registrations and lets foreign leases run out, until ctx ends.
func (r *Registry) keep(ctx context.Context) {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.renew:
			r.refresh(ctx, true)
		case <-tick.C:
			r.refresh(ctx, false)
			r.expire(ctx)
		}
	}
}

// refresh writes the own registrations that are due, or all of them after the watch came back: the bucket may have
// lost them. Those whose owner stopped asking for them are forgotten.
func (r *Registry) refresh(ctx context.Context, all bool) {
	if !r.live.Load() {
		return
	}
	var due []*registration
	now := time.Now()
	r.mu.Lock()
	for key, reg := range r.own {
		switch {
		case reg.ttl > 0 && now.Sub(reg.asked) > reg.ttl:
			delete(r.own, key)
		case all || reg.ttl == 0 && now.Sub(reg.refreshed) > r.cfg.TTL/3:
			due = append(due, reg)
		}
	}
	r.mu.Unlock()
	for _, reg := range due {
		if err := r.write(ctx, reg); err != nil && ctx.Err() != nil {
			return
		} else if err != nil {
			r.log.Warn("discovery_refresh_failed", "key", reg.key, "error", err)
			return
		}
	}
}

// expire takes out the nodes whose lease ran out, each only after the bucket confirmed that there was no refresh. While
// the watch or the bucket is away nothing expires.
func (r *Registry) expire(ctx context.Context) {
	if !r.live.Load() {
		return
	}
	r.mu.Lock()
	due := r.table.due(time.Now())
	r.mu.Unlock()
	for _, e := range due {
		fresh, err := r.refreshed(ctx, e)
		if err != nil || !r.live.Load() {
			r.log.Debug("discovery_expiry_frozen", "key", e.key, "error", err)
			return
		}
		r.update(func(t *table) {
			if fresh {
				e.seen = time.Now()
				return
			}
			t.expire(e, time.Now())
		})
		if !fresh {
			r.log.Info("discovery_node_expired", "key", e.key)
		}
	}
}

// refreshed tells whether the bucket holds another refresh of an entry than the one that was seen.
func (r *Registry) refreshed(ctx context.Context, e *entry) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	b, err := r.store(ctx)
	if err != nil {
		return false, err
	}
	got, err := b.Get(ctx, e.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read key %s: %w", e.key, err)
	}
	r.mu.Lock()
	revision, at := e.revision, e.signed
	r.mu.Unlock()
	if at.IsZero() {
		return got.Revision() != revision, nil
	}
	s, err := r.opened(e.key, got.Value()) // whoever copies a record can copy its revision too
	return err == nil && s.at.After(at), nil
}

func orBackground(ctx context.Context) context.Context {
	if ctx == nil {
		return context.Background()
	}
	return ctx
}
