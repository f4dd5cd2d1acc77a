package discovery

import (
	"errors"
	"time"

	"go-micro.dev/v5/registry"

	"micromesh/pkg/kv"
)

// WithSeal makes the registry refuse guests that the registry service has not sealed. A nil seal accepts all. Guests have no certificates
// that callers could verify, as those of other nodes.
func WithSeal(seal kv.Seal) Option {
	return func(r *Registry) { r.seal = seal }
}

// SealGuests seals the guests that are registered from now on.
func (r *Registry) SealGuests(seal kv.Seal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sealer = seal
}

// guestSeal returns the seal that a node is to be registered with, and its voucher; nil for none.
func (r *Registry) guestSeal(n *registry.Node) (kv.Seal, []byte, error) {
	r.mu.Lock()
	seal := r.sealer
	r.mu.Unlock()
	if seal == nil || n == nil || n.Metadata[Via] != ViaStock {
		return nil, nil, nil
	}
	_, voucher, err := seal.Voucher()
	return seal, voucher, err
}

// sealed returns what the bucket is to hold of a registration.
func (reg *registration) sealed(v Voucher) ([]byte, error) {
	switch {
	case reg.signed:
		return sign(v, reg.key, reg.value, time.Now())
	case reg.seal == nil:
		return reg.value, nil
	}
	return reg.seal.Sign(kv.Place{Bucket: kv.Nodes, Key: reg.key}, uint64(time.Now().Unix()), reg.value) //nolint:gosec // it is after 1970
}

// refuse counts an entry that doesn't count, and logs it.
func (r *Registry) refuse(key string, why error) {
	if r.seal == nil {
		r.log.Warn("discovery_record_refused", "key", key, "error", why)
		return
	}
	r.seal.Refused(r.cfg.Bucket, key, why)
}

// openGuest returns the record of a guest that the registry service has sealed.
func (r *Registry) openGuest(key string, raw, voucher []byte) (signed, error) {
	at := kv.Place{Bucket: kv.Nodes, Key: key}
	o, err := r.seal.Open(at, raw)
	if _, unknown := errors.AsType[*kv.UnknownSealError](err); unknown {
		if err := r.seal.Learn(kv.Nodes, voucher); err != nil {
			return signed{}, err
		}
		o, err = r.seal.Open(at, raw)
	}
	return signed{o.Value, time.Unix(int64(o.Number), 0)}, err //nolint:gosec // sealed returned it
}
