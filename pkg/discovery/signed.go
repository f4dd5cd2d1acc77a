package discovery

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go-micro.dev/v5/registry"
)

// Voucher ties records to certificates: an identity.Identity.
type Voucher interface {
	// Vouch proves that this process makes a statement.
	Vouch(statement []byte) (proof []byte, err error)
	// Vouched fails unless the service with the slug makes the statement.
	Vouched(slug string, statement, proof []byte) error
}

// WithVoucher signs the nodes that this process registers, and refuses nodes of others that the certificate of their service didn't sign. Guests
// are sealed instead, see WithSeal. A nil voucher signs nothing, and accepts all.
func WithVoucher(v Voucher) Option {
	return func(r *Registry) { r.voucher = v }
}

// A signature is the last line, behind the record: the time when it was made, and the proof.
const signaturePrefix = "\nnode1."

// signatureLife bounds the age of a signature when its record is seen first: later, a replayed record brings no node back. It allows for the
// clocks of machines to differ.
const signatureLife = 5 * time.Minute

var (
	errUnsigned = errors.New("the certificate of its service has not signed it")
	errReplay   = errors.New("it is not newer than the record that it replaces")
	errOld      = errors.New("it was signed too long ago, or by a clock that differs")

	signatureEncoding = base64.RawURLEncoding.Strict()
)

// signs reports whether a node's record is signed by its process.
func (r *Registry) signs(n *registry.Node) bool {
	return r.voucher != nil && n.Metadata[Via] != ViaStock
}

// sign appends a signature that is made now. Each refresh has another one, so that a record that is written again by others refreshes nothing.
func sign(v Voucher, key string, value []byte, now time.Time) ([]byte, error) {
	at := uint64(now.UnixNano())
	proof, err := v.Vouch(nodeStatement(key, value, at))
	if err != nil {
		return nil, err
	}
	raw := append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(proof)), at), proof...)
	out := append(bytes.Clone(value), signaturePrefix...)
	return signatureEncoding.AppendEncode(out, raw), nil
}

func nodeStatement(key string, value []byte, at uint64) []byte {
	sum := sha256.Sum256(value)
	return fmt.Appendf(nil, "node %s is %x at %d", key, sum, at)
}

// signed is a record with its signature taken off.
type signed struct {
	value []byte
	at    time.Time
}

// openSigned checks the signature of a record.
func (r *Registry) openSigned(key string, raw []byte) (signed, error) {
	value, text, ok := bytes.Cut(raw, []byte(signaturePrefix))
	if !ok {
		return signed{}, errUnsigned
	}
	sig, err := signatureEncoding.AppendDecode(nil, text)
	if err != nil || len(sig) < 8 {
		return signed{}, errUnsigned
	}
	service, _, err := parseKey(key)
	if err != nil {
		return signed{}, err
	}
	at := binary.BigEndian.Uint64(sig)
	if err := r.voucher.Vouched(service, nodeStatement(key, value, at), sig[8:]); err != nil {
		return signed{}, fmt.Errorf("%w: %w", errUnsigned, err)
	}
	return signed{value, time.Unix(0, int64(at))}, nil //nolint:gosec // a time that is out of range is too old or too new
}

// opened returns the record in an entry's value. It fails if that is a guest which is not sealed, or a node which is not signed.
func (r *Registry) opened(key string, raw []byte) (signed, error) {
	if r.seal == nil && r.voucher == nil {
		return signed{value: raw}, nil
	}
	var rec record
	_ = json.NewDecoder(bytes.NewReader(raw)).Decode(&rec) // decode refuses what can't be read
	guest := len(rec.Nodes) == 1 && rec.Nodes[0] != nil && rec.Nodes[0].Metadata[Via] == ViaStock
	switch {
	case guest && r.seal != nil:
		return r.openGuest(key, raw, rec.Voucher)
	case !guest && r.voucher != nil:
		return r.openSigned(key, raw)
	}
	return signed{value: raw}, nil
}

// accept returns the record of an entry, which must not be older than the record that it replaces.
func (r *Registry) accept(t *table, e jetstream.KeyValueEntry) (signed, error) {
	old := t.find(e.Key())
	if old != nil && old.revision == e.Revision() && bytes.HasPrefix(e.Value(), old.raw) {
		return signed{old.raw, old.signed}, nil // a resync found it again
	}
	s, err := r.opened(e.Key(), e.Value())
	if err != nil || s.at.IsZero() {
		return s, err
	}
	switch age := e.Created().Sub(s.at); {
	case age > signatureLife || age < -signatureLife:
		return signed{}, errOld
	case old != nil && (s.at.Before(old.signed) || s.at.Equal(old.signed) && bytes.Equal(s.value, old.raw)):
		return signed{}, errReplay
	}
	return s, nil
}
