package auth

import (
	"crypto/subtle"
	"encoding/base64"

	"golang.org/x/crypto/argon2"
)

// AccountClaim is the key in a node's metadata of the account that the node's service is going to register: see [Claim].
const AccountClaim = "account"

// Claim returns the text by which the nodes of a service name the account of its slug, before there is one: a slow hash (argon2id, 19 MiB, two
// passes) of its password. Whoever registers the slug with that password is the service. The text says nothing else about the password,
// which must be a random one, since everybody who sees the nodes may try others.
func Claim(slug, password string) string {
	key := argon2.IDKey([]byte(password), []byte("account of "+slug), 2, 19*1024, 1, 32)
	return base64.RawURLEncoding.EncodeToString(key)
}

// Claimed reports whether a claim names the account with a password.
func Claimed(claim, slug, password string) bool {
	return subtle.ConstantTimeCompare([]byte(claim), []byte(Claim(slug, password))) == 1
}
