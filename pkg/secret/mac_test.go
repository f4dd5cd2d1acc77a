package secret_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"micromesh/pkg/secret"
)

func TestMAC(t *testing.T) {
	box := func(b byte) *secret.Box {
		s, err := secret.New(bytes.Repeat([]byte{b}, 32))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := box(1).MAC([]byte("data"), "context")
	if len(one) != 32 || !bytes.Equal(one, box(1).MAC([]byte("data"), "context")) {
		t.Errorf("the MAC is %x", one)
	}
	for name, other := range map[string][]byte{
		"another key":           box(2).MAC([]byte("data"), "context"),
		"another context":       box(1).MAC([]byte("data"), "other"),
		"other data":            box(1).MAC([]byte("date"), "context"),
		"moved from one to two": box(1).MAC([]byte("tdata"), "contex"),
	} {
		if bytes.Equal(one, other) {
			t.Errorf("%s gives the same MAC", name)
		}
	}
}

func TestSigningKeys(t *testing.T) {
	key := func(of byte, context string) ed25519.PrivateKey {
		s, err := secret.New(bytes.Repeat([]byte{of}, 32))
		if err != nil {
			t.Fatal(err)
		}
		return s.SigningKey(context)
	}
	one := key(1, "context")
	if !one.Equal(key(1, "context")) {
		t.Error("another box of the same key has another")
	}
	if one.Equal(key(2, "context")) || one.Equal(key(1, "other")) {
		t.Error("another key, or another context, has the same")
	}
	if !ed25519.Verify(one.Public().(ed25519.PublicKey), []byte("data"), ed25519.Sign(one, []byte("data"))) {
		t.Error("it can't sign")
	}
}
