package auth_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"micromesh/pkg/auth"
)

// TestLostRoles checks which roles a token keeps.
func TestLostRoles(t *testing.T) {
	roles := []string{"shop:clerk", "shop:guest", "shopx:clerk", "user-svc:admin", "user-svc:org:{o}:user", "user-svc:user"}
	type lost struct{ role, app string }
	for _, tt := range []struct {
		name string
		lost []lost
		want []string // what is gone
	}{
		{"one role", []lost{{"shop:clerk", "a"}}, []string{"shop:clerk"}},
		{"in another app", []lost{{"shop:clerk", "b"}}, nil},
		{"in several", []lost{{"shop:clerk", "b"}, {"shop:clerk", "a"}, {"shop:clerk", "a"}}, []string{"shop:clerk"}},
		{"in every app", []lost{{"shop:clerk", "b"}, {"shop:clerk", auth.AnyApp}}, []string{"shop:clerk"}},
		{"in every app, and then in one", []lost{{"shop:clerk", auth.AnyApp}, {"shop:clerk", "b"}}, []string{"shop:clerk"}},
		{"all of an owner", []lost{{"shop:*", auth.AnyApp}}, []string{"shop:clerk", "shop:guest"}},
		{"all of an organization", []lost{{"user-svc:org:{o}:*", auth.AnyApp}}, []string{"user-svc:org:{o}:user"}},
		{"all of the mesh", []lost{{"user-svc:*", auth.AnyApp}}, []string{"user-svc:admin", "user-svc:org:{o}:user"}},
		{"all", []lost{{"*", auth.AnyApp}}, roles[:5]},
	} {
		var r auth.Revocation
		for _, l := range tt.lost {
			r.Lose(l.role, l.app, start)
		}
		revoked := auth.Revoked{Lost: map[string]map[string]time.Time{"usr_1": r.Lost}, Apps: map[string]map[string][]string{"usr_1": r.Apps}}
		c := &auth.Claims{UserID: "usr_1", Roles: roles, AppID: "a", RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(start)}}
		if _, gone := revoked.Void(c); !slices.Equal(gone, tt.want) {
			t.Errorf("%s: the token has lost %v, want %v", tt.name, gone, tt.want)
		}
		c.IssuedAt = jwt.NewNumericDate(start.Add(time.Second))
		if _, gone := revoked.Void(c); len(gone) > 0 {
			t.Errorf("%s: a later token has lost %v", tt.name, gone)
		}
	}
}

// TestRevocationsAreBounded has many accounts fill their entries.
func TestRevocationsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 100)
	r := auth.Revoked{Lost: map[string]map[string]time.Time{}, Apps: map[string]map[string][]string{}}
	for i := range 200 {
		var e auth.Revocation
		for j := range 60 {
			e.Lose(fmt.Sprintf("shop:%s%d", long, j), "app", start.Add(time.Duration(j)))
		}
		r.Lost[fmt.Sprint("usr_", i)], r.Apps[fmt.Sprint("usr_", i)] = e.Lost, e.Apps
	}
	r.Lost["usr_victim"] = map[string]time.Time{"shop:clerk": start}
	auth.BoundRevoked(&r, 1<<20)
	size := 0
	for user, lost := range r.Lost {
		for role := range lost {
			size += 2*len(role) + 40
		}
		if whole := len(lost) == 60; !whole && user != "usr_victim" && !lost["*"].Equal(start.Add(59)) {
			t.Fatalf("%s has lost %v", user, lost)
		}
	}
	if size > 1<<20 || len(r.Lost) != 201 || r.Lost["usr_victim"]["shop:clerk"].IsZero() {
		t.Errorf("%d accounts have %d bytes", len(r.Lost), size)
	}
}
