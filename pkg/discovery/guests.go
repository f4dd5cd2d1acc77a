package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"

	"micromesh/pkg/kv"
)

// sealLife bounds the age of a guest's seal when its record is written: later, a replayed record brings no guest back.
const sealLife = 5 * time.Minute

var errOldSeal = errors.New("it was sealed too long ago")

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
func (reg *registration) sealed() ([]byte, error) {
	if reg.seal == nil {
		return reg.value, nil
	}
	return reg.seal.Sign(kv.Place{Bucket: kv.Nodes, Key: reg.key}, uint64(time.Now().Unix()), reg.value) //nolint:gosec // it is after 1970
}

// unseal returns the record of an entry. It fails if that is a guest which is not sealed.
func (r *Registry) unseal(t *table, e jetstream.KeyValueEntry) ([]byte, error) {
	if r.seal == nil {
		return e.Value(), nil
	}
	if old := t.find(e.Key()); old != nil && old.node.Metadata[Via] != ViaStock && bytes.Equal(old.raw, e.Value()) {
		return e.Value(), nil // refreshed
	}
	var rec record
	_ = json.NewDecoder(bytes.NewReader(e.Value())).Decode(&rec) // decode refuses what can't be read
	if len(rec.Nodes) == 1 && rec.Nodes[0] != nil && rec.Nodes[0].Metadata[Via] == ViaStock {
		return r.unsealGuest(e, rec.Voucher)
	}
	return e.Value(), nil
}

func (r *Registry) unsealGuest(e jetstream.KeyValueEntry, voucher []byte) ([]byte, error) {
	at := kv.Place{Bucket: kv.Nodes, Key: e.Key()}
	o, err := r.seal.Open(at, e.Value())
	if _, unknown := errors.AsType[*kv.UnknownSealError](err); unknown {
		if err := r.seal.Learn(kv.Nodes, voucher); err != nil {
			return nil, err
		}
		o, err = r.seal.Open(at, e.Value())
	}
	if err == nil && e.Created().Sub(time.Unix(int64(o.Number), 0)) > sealLife { //nolint:gosec // sealed returned it
		err = errOldSeal
	}
	return o.Value, err
}
