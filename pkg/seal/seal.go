// Package seal seals the entries of buckets (kv.Seal) where processes have certificates.
//
// A seal is an Ed25519 signature over the entry and its place. It follows the value, so that the value stays readable. The key of a service
// is derived from its secret key, and its certificate vouches for it: no other service can seal, whatever NATS lets it write.
package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"micromesh/pkg/kv"
	"micromesh/pkg/secret"
)

// Voucher ties keys to certificates: an identity.Identity.
type Voucher interface {
	// Vouch proves that this process makes a statement.
	Vouch(statement []byte) (proof []byte, err error)
	// Vouched fails unless the service with the slug makes the statement.
	Vouched(slug string, statement, proof []byte) error
}

const (
	recheck = 10 * time.Minute // after which a voucher is verified again: certificates end, and authorities are replaced
	renewal = time.Hour        // after which a service vouches again for its key
	quiet   = time.Minute      // between two lines in the log about the same bucket
	maxKeys = 100              // that are remembered
)

// A seal is the last line, behind the value.
const (
	prefix = "\nseal1."
	length = 8 + ed25519.PublicKeySize + ed25519.SignatureSize // the number, the key, the signature
)

var (
	encoding = base64.RawURLEncoding.Strict()
	whole    = len(prefix) + encoding.EncodedLen(length)

	errNoSeal   = errors.New("it has no seal")
	errForeign  = errors.New("its seal is not of this entry")
	errUnsealed = errors.New("entries of this bucket have no seals")
	errReadOnly = errors.New("this process seals nothing")
)

// Reader opens what the owners of buckets have sealed. It implements kv.Seal, and seals nothing itself. A process has one.
type Reader struct {
	voucher Voucher
	log     *slog.Logger
	refused *prometheus.CounterVec

	mu   sync.RWMutex
	keys map[string]vouched   // by owner and public key
	said map[string]time.Time // when the log had a bucket
}

var (
	_ kv.Seal = (*Reader)(nil)
	_ kv.Seal = (*Sealer)(nil)
)

// vouched is a key with its voucher.
type vouched struct {
	proof []byte
	at    time.Time // when it was verified last
}

// NewReader makes a reader, whose counter is with these metrics.
func NewReader(v Voucher, log *slog.Logger, metrics prometheus.Registerer) *Reader {
	r := &Reader{
		voucher: v, log: log, keys: map[string]vouched{}, said: map[string]time.Time{},
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mesh_kv_entries_refused_total", Help: "Entries of buckets that their owner has not sealed, by bucket.",
		}, []string{"bucket"}),
	}
	metrics.MustRegister(r.refused)
	for _, bucket := range []string{kv.Keys, kv.Permits, kv.Revocations, kv.Accounts, kv.Instances, kv.Routing, kv.Nodes} {
		r.refused.WithLabelValues(bucket)
	}
	return r
}

// Sign implements kv.Seal: it fails.
func (r *Reader) Sign(kv.Place, uint64, []byte) ([]byte, error) { return nil, errReadOnly }

// Voucher implements kv.Seal: it fails.
func (r *Reader) Voucher() (string, []byte, error) { return "", nil, errReadOnly }

// Open implements kv.Seal.
func (r *Reader) Open(at kv.Place, sealed []byte) (kv.Opened, error) {
	s, err := parse(sealed)
	if err != nil {
		return kv.Opened{}, err
	}
	owner := kv.Owner(at.Bucket)
	if owner == "" {
		return kv.Opened{}, errUnsealed
	}
	if !r.knows(owner, s.key) {
		return kv.Opened{}, &kv.UnknownSealError{ID: id(s.key)}
	}
	if !ed25519.Verify(s.key, message(at, s.number, s.value), s.signature) {
		return kv.Opened{}, errForeign
	}
	return kv.Opened{Value: s.value, Number: s.number}, nil
}

// knows reports whether a key is an owner's.
func (r *Reader) knows(owner string, key ed25519.PublicKey) bool {
	name := owner + string(key)
	r.mu.RLock()
	known, ok := r.keys[name]
	r.mu.RUnlock()
	if !ok || time.Since(known.at) < recheck {
		return ok
	}
	err := r.voucher.Vouched(owner, statement(owner, key), known.proof)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.keys, name)
		return false
	}
	r.keys[name] = vouched{known.proof, time.Now()}
	return true
}

// voucher is the form of a voucher in a bucket.
type voucher struct {
	Key   []byte          `json:"key"`
	Proof json.RawMessage `json:"proof"` // by the service's certificate
}

// statement returns the statement that a service vouches for.
func statement(owner string, key ed25519.PublicKey) []byte {
	return []byte("entries of " + owner + " are sealed by " + hex.EncodeToString(key))
}

// Learn implements kv.Seal.
func (r *Reader) Learn(bucket string, raw []byte) error {
	var v voucher
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("read voucher: %w", err)
	}
	if len(v.Key) != ed25519.PublicKeySize {
		return errors.New("read voucher: it names no key")
	}
	owner := kv.Owner(bucket)
	if owner == "" {
		return errUnsealed
	}
	if err := r.voucher.Vouched(owner, statement(owner, v.Key), v.Proof); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) >= maxKeys {
		clear(r.keys)
	}
	r.keys[owner+string(v.Key)] = vouched{v.Proof, time.Now()}
	return nil
}

// Refused implements kv.Seal: it counts, and logs once a minute for each bucket.
func (r *Reader) Refused(bucket, key string, why error) {
	r.refused.WithLabelValues(bucket).Inc()
	r.mu.Lock()
	say := time.Since(r.said[bucket]) > quiet
	if say {
		r.said[bucket] = time.Now()
	}
	r.mu.Unlock()
	if say {
		r.log.Warn("entry_refused", "bucket", bucket, "key", key, "owner", kv.Owner(bucket), "error", why)
	}
}

// Sealer is a Reader that seals the entries of a service too.
type Sealer struct {
	*Reader
	slug   string
	key    ed25519.PrivateKey
	public ed25519.PublicKey

	mu    sync.Mutex
	vouch []byte
	at    time.Time // when vouch was made
}

// Sealer returns the sealer of the service with a slug. All processes of the service have the same box, and so the same key.
func (r *Reader) Sealer(slug string, box *secret.Box) *Sealer {
	key := box.SigningKey("entries of " + slug)
	return &Sealer{Reader: r, slug: slug, key: key, public: key.Public().(ed25519.PublicKey)}
}

// Sign implements kv.Seal.
func (s *Sealer) Sign(at kv.Place, number uint64, value []byte) ([]byte, error) {
	if kv.Owner(at.Bucket) != s.slug {
		return nil, fmt.Errorf("bucket %s is not of %s", at.Bucket, s.slug)
	}
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, length), number)
	raw = append(raw, s.public...)
	raw = append(raw, ed25519.Sign(s.key, message(at, number, value))...)
	out := append(make([]byte, 0, len(value)+whole), value...)
	return encoding.AppendEncode(append(out, prefix...), raw), nil
}

// Open implements kv.Seal. Making a signature of one's own again takes less time than verifying it.
func (s *Sealer) Open(at kv.Place, sealed []byte) (kv.Opened, error) {
	p, err := parse(sealed)
	if err != nil || !bytes.Equal(p.key, s.public) || kv.Owner(at.Bucket) != s.slug {
		return s.Reader.Open(at, sealed)
	}
	if !bytes.Equal(ed25519.Sign(s.key, message(at, p.number, p.value)), p.signature) {
		return kv.Opened{}, errForeign
	}
	return kv.Opened{Value: p.value, Number: p.number, Own: true}, nil
}

// Voucher implements kv.Seal.
func (s *Sealer) Voucher() (string, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vouch != nil && time.Since(s.at) < renewal {
		return id(s.public), s.vouch, nil
	}
	proof, err := s.voucher.Vouch(statement(s.slug, s.public))
	if err != nil {
		return "", nil, err
	}
	v, err := json.Marshal(voucher{s.public, proof})
	if err != nil {
		return "", nil, fmt.Errorf("encode voucher: %w", err)
	}
	s.vouch, s.at = v, time.Now()
	return id(s.public), v, nil
}

// id is a key's name.
func id(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:16])
}

// parsed is a value with its seal.
type parsed struct {
	value, signature []byte
	number           uint64
	key              ed25519.PublicKey
}

func parse(sealed []byte) (parsed, error) {
	if len(sealed) < whole {
		return parsed{}, errNoSeal
	}
	value, tail := sealed[:len(sealed)-whole], sealed[len(sealed)-whole:]
	text, ok := bytes.CutPrefix(tail, []byte(prefix))
	if !ok {
		return parsed{}, errNoSeal
	}
	raw, err := encoding.AppendDecode(make([]byte, 0, length), text)
	if err != nil || len(raw) != length {
		return parsed{}, errNoSeal
	}
	number, rest := binary.BigEndian.Uint64(raw), raw[8:]
	return parsed{value: value, number: number, key: rest[:ed25519.PublicKeySize], signature: rest[ed25519.PublicKeySize:]}, nil
}

// message returns the bytes that a seal signs: each part after its length, so that no other entry has the same.
func message(at kv.Place, number uint64, value []byte) []byte {
	var made uint64
	if !at.Made.IsZero() {
		made = uint64(at.Made.UnixNano())
	}
	b := make([]byte, 0, 128+len(value))
	for _, part := range []string{"micromesh entry v1", at.Bucket, at.Key} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint64(b, made)
	b = binary.BigEndian.AppendUint64(b, number)
	return append(b, value...)
}
