package seal_test

import (
	"testing"
	"time"

	"micromesh/pkg/kv"
	"micromesh/pkg/seal/sealtest"
)

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
