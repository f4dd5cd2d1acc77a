package handler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"micromesh/pkg/auth"
	"micromesh/pkg/secret"
	"micromesh/pkg/sqldb/sqldbtest"
	"micromesh/user/handler"
	"micromesh/user/service"
	"micromesh/user/store"
	"micromesh/user/subscriber"

	userpb "micromesh/user/proto"
)

// BenchmarkCalls measures the calls that every signed-in client makes, without the network, among few and many accounts.
func BenchmarkCalls(b *testing.B) {
	for _, accounts := range []int{3_000, 300_000} {
		db := sqldbtest.Open(b, sqldbtest.SQLiteURL(b))
		if err := store.Migrate(b.Context(), db); err != nil {
			b.Fatal(err)
		}
		st := store.New(db, subscriber.Encode)
		w := &world{issued: map[string]*auth.Claims{}}
		box, err := secret.New([]byte(strings.Repeat("k", 32)))
		if err != nil {
			b.Fatal(err)
		}
		svc, err := service.New(service.Config{TokenLife: time.Hour, SessionLife: time.Hour, KeyLife: time.Hour}, service.Ports{
			Store: st, Sealer: box, Signer: w, Mailer: w, Permits: w, Replica: w,
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := svc.Prepare(b.Context(), service.Admin{Slug: "admin", Password: "admin password"}); err != nil {
			b.Fatal(err)
		}
		callers := fill(b, st, accounts)
		h := handler.New(svc, w)
		b.Run(fmt.Sprintf("ReadSelf/accounts=%d", accounts), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := h.ReadSelf(callers[i%len(callers)], &userpb.ReadSelfRequest{}, &userpb.ReadSelfResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("HasPermission/accounts=%d", accounts), func(b *testing.B) {
			b.ReportAllocs()
			in := &userpb.HasPermissionRequest{Permission: "pet-svc:pet:edit"}
			for i := 0; b.Loop(); i++ {
				if err := h.HasPermission(callers[i%len(callers)], in, &userpb.HasPermissionResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("ListUsers/accounts=%d", accounts), func(b *testing.B) {
			for b.Loop() {
				if err := h.ListUsers(callers[0], &userpb.ListUsersRequest{Count: true}, &userpb.ListUsersResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("ListUsers/search/accounts=%d", accounts), func(b *testing.B) {
			for b.Loop() {
				if err := h.ListUsers(callers[0], &userpb.ListUsersRequest{Search: "nt-1500@"}, &userpb.ListUsersResponse{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fill makes accounts with a contact each, and gives contexts of a thousand of them.
func fill(b *testing.B, st *store.Store, accounts int) (callers []context.Context) {
	b.Helper()
	const batch = 5_000
	at := time.Now().UTC().Truncate(time.Microsecond)
	for first := 0; first < accounts; first += batch {
		err := st.Update(b.Context(), func(tx service.Tx) error {
			for i := first; i < min(first+batch, accounts); i++ {
				a := service.Account{ID: fmt.Sprintf("usr_%d", i*7919), Slug: fmt.Sprintf("account-%d", i), CreatedAt: at, UpdatedAt: at}
				at = at.Add(time.Microsecond)
				if err := tx.InsertAccount(b.Context(), a); err != nil {
					return err
				}
				mail := fmt.Sprintf("account-%d@x.example", i)
				if err := tx.SaveContact(b.Context(), service.Contact{ID: mail, Platform: "email", Handle: mail, UserID: a.ID, CreatedAt: at, UpdatedAt: at}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range 1000 {
		n := i * accounts / 1000
		claims := &auth.Claims{UserID: fmt.Sprintf("usr_%d", n*7919), Slug: fmt.Sprintf("account-%d", n), Roles: []string{"user-svc:user"}, AppID: "unnamed"}
		claims.IssuedAt, claims.ExpiresAt = date(at), date(at.Add(time.Hour))
		callers = append(callers, auth.NewContext(b.Context(), claims, "token"))
	}
	return callers
}
