// Package secret seals what must not lie readable in a database: signing keys and private keys of certificates.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const keySize = 32 // AES-256

// Box seals and opens with one key: AES-256-GCM with a random nonce before the ciphertext (NIST SP 800-38D).
type Box struct {
	aead cipher.AEAD
	mac  []byte // the key of MAC: HKDF (RFC 5869) of the box's
	sign []byte // what SigningKey derives from, by the same
}

// New makes a box of a key of 32 bytes.
func New(key []byte) (*Box, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("it has %d bytes; a secret key has %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	mac, err := hkdf.Key(sha256.New, key, nil, "micromesh secret mac", sha256.Size)
	if err != nil {
		return nil, err
	}
	sign, err := hkdf.Key(sha256.New, key, nil, "micromesh secret sign", sha256.Size)
	if err != nil {
		return nil, err
	}
	return &Box{aead, mac, sign}, nil
}

// Parse makes a box of a key in base64, as a setting holds it.
func Parse(s string) (*Box, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, errors.New("it is not base64; a secret key is 32 bytes in base64, as `openssl rand -base64 32` makes them")
	}
	return New(key)
}

// Seal encrypts plain; context is authenticated with it, and must be the same in Open.
func (b *Box) Seal(plain []byte, context string) []byte {
	return b.aead.Seal(nil, nil, plain, []byte(context))
}

// Open decrypts what Seal made.
func (b *Box) Open(sealed []byte, context string) ([]byte, error) {
	plain, err := b.aead.Open(nil, nil, sealed, []byte(context))
	if err != nil {
		return nil, errors.New("open sealed value: wrong secret key, or the value was changed")
	}
	return plain, nil
}

// MAC authenticates data in a context, by HMAC-SHA256: only a box of the same key can make it.
func (b *Box) MAC(data []byte, context string) []byte {
	h := hmac.New(sha256.New, b.mac)
	_ = binary.Write(h, binary.BigEndian, uint64(len(context))) // so that no context and data look like others; a hash takes all
	h.Write([]byte(context))
	h.Write(data)
	return h.Sum(nil)
}

// SigningKey derives a key that signs (Ed25519, RFC 8032) for a context. Boxes of the same key give the same, so it needs no
// place of its own; nothing about the box's key, or about that of another context, can be told from it.
func (b *Box) SigningKey(context string) ed25519.PrivateKey {
	h := hmac.New(sha256.New, b.sign)
	h.Write([]byte(context)) // a hash takes all
	return ed25519.NewKeyFromSeed(h.Sum(nil))
}
