package secret_test

import (
	"bytes"
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
