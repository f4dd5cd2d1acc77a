package seal_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"micromesh/pkg/kv"
	"micromesh/pkg/seal/sealtest"
)

// TestASealIsOfOneEntry changes each part of a sealed entry.
func TestASealIsOfOneEntry(t *testing.T) {
	mesh, box := sealtest.Authority(t), sealtest.Box(t)
	user, again := sealtest.New(t, mesh, "user-svc", "user-svc", box), sealtest.New(t, mesh, "user-svc", "user-svc", box)
	reader := sealtest.New(t, mesh, "gateway-svc", "gateway-svc", sealtest.Box(t))
	at := kv.Place{Bucket: kv.Permits, Made: time.Now(), Key: "a"}
	sealed, err := user.Sign(at, 7, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	var unknown *kv.UnknownSealError
	if _, err := reader.Open(at, sealed); !errors.As(err, &unknown) {
		t.Fatalf("without a voucher: %v", err)
	}
	id, voucher, err := user.Voucher()
	if err != nil || id != unknown.ID {
		t.Fatal(id, unknown.ID, err)
	}
	if err := reader.Learn(kv.Instances, voucher); err == nil {
		t.Error("user-svc vouches for seals of registry-svc")
	}
	if err := reader.Learn(kv.Keys, voucher); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]sealtest.Party{"a reader": reader, "the owner": again} {
		o, err := p.Open(at, sealed)
		if err != nil || string(o.Value) != "value" || o.Number != 7 || o.Own != (name == "the owner") {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			if _, err := p.Open(at, changed); err == nil {
				t.Errorf("%s: byte %d may be changed", name, i)
			}
			if _, err := p.Open(at, sealed[:i]); err == nil {
				t.Errorf("%s: the first %d bytes are enough", name, i)
			}
		}
		for _, other := range []kv.Place{
			{Bucket: kv.Keys, Made: at.Made, Key: "a"}, {Bucket: kv.Permits, Made: at.Made.Add(1), Key: "a"}, {Bucket: kv.Permits, Made: at.Made, Key: "b"},
			{Bucket: kv.Instances, Made: at.Made, Key: "a"}, {Bucket: "things", Made: at.Made, Key: "a"},
		} {
			if _, err := p.Open(other, sealed); err == nil {
				t.Errorf("%s: the seal is good at %v", name, other)
			}
		}
	}
	if _, err := user.Sign(kv.Place{Bucket: kv.Instances, Key: "a"}, 0, nil); err == nil {
		t.Error("user-svc seals what is registry-svc's")
	}
}

func BenchmarkSeal(b *testing.B) {
	mesh, box := sealtest.Authority(b), sealtest.Box(b)
	user := sealtest.New(b, mesh, "user-svc", "user-svc", box)
	reader := sealtest.New(b, mesh, "gateway-svc", "gateway-svc", sealtest.Box(b))
	_, voucher, err := user.Voucher()
	if err == nil {
		err = reader.Learn(kv.Permits, voucher)
	}
	if err != nil {
		b.Fatal(err)
	}
	at := kv.Place{Bucket: kv.Permits, Made: time.Now(), Key: "a-permit"}
	sealed, err := user.Sign(at, 7, make([]byte, 200))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Sign", func(b *testing.B) {
		for b.Loop() {
			_, _ = user.Sign(at, 7, make([]byte, 200))
		}
	})
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			if _, err := reader.Open(at, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("OpenOwn", func(b *testing.B) {
		for b.Loop() {
			if _, err := user.Open(at, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
