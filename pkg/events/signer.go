package events

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/pkg/kv"
	"micromesh/pkg/schema"
	"micromesh/pkg/secret"
)

// Voucher ties the key of a publisher to its certificate, where processes have any: an identity.Identity.
type Voucher interface {
	// Vouch proves that this process makes a statement.
	Vouch(statement []byte) (proof []byte, err error)
	// Vouched fails unless the service with the slug makes the statement.
	Vouched(slug string, statement, proof []byte) error
}

// Signer signs a service's events, with a key that only its processes have.
type Signer struct {
	slug    string
	key     ed25519.PrivateKey
	id      string
	voucher Voucher
}

// NewSigner makes the signer of the service with a slug. All processes of the service have the same box, and so the same
// key. A nil voucher leaves it to the bucket's permissions whose key is whose.
func NewSigner(slug string, box *secret.Box, voucher Voucher) *Signer {
	key := box.SigningKey("events of " + slug)
	return &Signer{slug: slug, key: key, id: schema.Hash(key.Public().(ed25519.PublicKey)), voucher: voucher}
}

// publicKey is what the bucket [kv.Signers] holds under "<slug>.<id>". The id is the key's hash, so that no key takes the
// place of another: those that were replaced stay, since events that they signed are still in the stream.
type publicKey struct {
	Key   []byte          `json:"key"`
	Proof json.RawMessage `json:"proof,omitempty"` // by the service's certificate
}

// keyStatement is what a service vouches for.
func keyStatement(slug, id string) []byte {
	return []byte("events of " + slug + " are signed by " + id)
}

// Announce publishes the key, which must come before the first event that it signs.
func (s *Signer) Announce(ctx context.Context, js jetstream.JetStream) error {
	b, err := kv.Open(ctx, js, kv.Signers, kv.Options{})
	if err != nil {
		return err
	}
	entry := publicKey{Key: s.key.Public().(ed25519.PublicKey)}
	if s.voucher != nil {
		if entry.Proof, err = s.voucher.Vouch(keyStatement(s.slug, s.id)); err != nil {
			return err
		}
	}
	value, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	if _, err := b.Put(ctx, s.slug+"."+s.id, value); err != nil {
		return fmt.Errorf("publish key of events: %w", err)
	}
	return nil
}

// lost reports whether the bucket doesn't hold the key as it was announced: NATS has lost it, or another login has overwritten it. Where
// processes have no certificates, a key that an operator deleted is not lost. Where they have, another login may have deleted it; operators
// revoke the certificate instead.
func (s *Signer) lost(ctx context.Context, js jetstream.JetStream) bool {
	ctx, cancel := context.WithTimeout(ctx, kv.Look)
	defer cancel()
	bucket, err := js.Stream(ctx, "KV_"+kv.Signers)
	if err != nil {
		return errors.Is(err, jetstream.ErrStreamNotFound)
	}
	m, err := bucket.GetLastMsgForSubject(ctx, "$KV."+kv.Signers+"."+s.slug+"."+s.id)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return true
	case err != nil:
		return false
	case s.voucher == nil && len(m.Data) == 0:
		return false
	}
	var entry publicKey
	if json.Unmarshal(m.Data, &entry) != nil || !bytes.Equal(entry.Key, s.key.Public().(ed25519.PublicKey)) {
		return true
	}
	return s.voucher != nil && s.voucher.Vouched(s.slug, keyStatement(s.slug, s.id), entry.Proof) != nil
}

// Sign signs an event's message. What is signed must not be changed afterwards: the subject, the CloudEvents headers, the data.
func (s *Signer) Sign(m *nats.Msg) {
	signature := ed25519.Sign(s.key, signed(m.Subject, m.Header, m.Data))
	m.Header.Set(headerSignature, s.id+"."+base64.RawURLEncoding.EncodeToString(signature))
}

// signed is what a signature is of: each part after its length, so that no other event has the same.
func signed(subject string, h nats.Header, data []byte) []byte {
	parts := []string{
		"micromesh event v1", subject, h.Get(headerSpec), h.Get(headerID), h.Get(headerSource), h.Get(headerType), h.Get(headerSubject), h.Get(headerTime),
		h.Get(headerContent), h.Get(headerSchema),
	}
	b := make([]byte, 0, 512+len(data))
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return append(b, data...)
}

// parseSignature takes a signature's header apart.
func parseSignature(s string) (id string, signature []byte, err error) {
	id, text, ok := strings.Cut(s, ".")
	if ok {
		signature, err = base64.RawURLEncoding.DecodeString(text)
	}
	if !ok || err != nil || len(signature) != ed25519.SignatureSize || len(id) != hashSize || strings.Trim(id, "0123456789abcdef") != "" {
		return "", nil, errors.New("the event's signature is malformed")
	}
	return id, signature, nil
}
