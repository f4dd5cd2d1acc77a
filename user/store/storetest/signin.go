package storetest

import (
	"errors"
	"time"

	"micromesh/user/service"
)

func session(id, device string, at time.Time) service.Session {
	return service.Session{ID: id, UserID: "usr_1", AppID: "app", Device: device, CreatedAt: at, ExpiresAt: start.Add(24 * time.Hour)}
}

func (s *suite) sessions() {
	s.insert(account(1))
	first, second, other := session("1", "phone", start), session("2", "phone", start.Add(time.Second)), session("3", "tv", start)
	s.do(func(tx service.Tx) error {
		return errors.Join(tx.InsertSession(s.ctx, second), tx.InsertSession(s.ctx, first), tx.InsertSession(s.ctx, other))
	})
	equal(s, "session", ok[service.Session](s)(s.store.Session(s.ctx, "1")), first)
	_, err := s.store.Session(s.ctx, "9")
	s.missing("unknown", err)
	list := ok[[]service.Session](s)
	equal(s, "of a device", list(s.store.SessionsOf(s.ctx, "usr_1", "app", "phone", start)), []service.Session{first, second})
	equal(s, "of an account", len(list(s.store.SessionsOf(s.ctx, "usr_1", "", "", start))), 3)
	equal(s, "expired", len(list(s.store.SessionsOf(s.ctx, "usr_1", "", "", start.Add(24*time.Hour)))), 0)
	first.RevokedAt, first.RefreshedAt, first.ExpiresAt = start.Add(time.Hour), start.Add(time.Minute), start.Add(48*time.Hour)
	s.do(func(tx service.Tx) error { return tx.UpdateSession(s.ctx, first) })
	equal(s, "revoked", ok[service.Session](s)(s.store.Session(s.ctx, "1")), first)
	equal(s, "of those that live", list(s.store.SessionsOf(s.ctx, "usr_1", "app", "phone", start)), []service.Session{second})
	equal(s, "revoked since", ok[[]string](s)(s.store.RevokedSince(s.ctx, start)), []string{"1"})
	equal(s, "revoked later", len(ok[[]string](s)(s.store.RevokedSince(s.ctx, start.Add(time.Hour)))), 0)
}

func token(id string) service.Token {
	return service.Token{
		ID: id, SessionID: "1", KeyID: "key", UserID: "usr_1", Slug: "account-1", AppID: "app", Device: "phone", Roles: []string{"a:b", "c:{d}:e"},
		ActiveOrg: "org", IssuedAt: start, ExpiresAt: start.Add(time.Minute),
	}
}

func (s *suite) tokens() {
	s.insert(account(1))
	t := token("1")
	s.do(func(tx service.Tx) error {
		return errors.Join(tx.InsertSession(s.ctx, session("1", "phone", start)), tx.InsertToken(s.ctx, t))
	})
	equal(s, "token", ok[service.Token](s)(s.store.Token(s.ctx, "1")), t)
	_, err := s.store.Token(s.ctx, "9")
	s.missing("unknown", err)
	s.do(func(tx service.Tx) error { return tx.RotateToken(s.ctx, "1", "2", start.Add(time.Second)) })
	t.Successor, t.RotatedAt = "2", start.Add(time.Second)
	newer, ended := token("3"), token("4")
	newer.IssuedAt, ended.IssuedAt, ended.SessionID = start.Add(time.Hour), start.Add(24*time.Hour), "2"
	elsewhere := session("2", "phone", start)
	s.do(func(tx service.Tx) error {
		err := errors.Join(tx.InsertToken(s.ctx, newer), tx.InsertSession(s.ctx, elsewhere), tx.InsertToken(s.ctx, ended))
		elsewhere.RevokedAt = start
		return errors.Join(err, tx.UpdateSession(s.ctx, elsewhere))
	})
	equal(s, "the newest, by app", ok[map[string]time.Time](s)(s.store.Issued(s.ctx, "usr_1")), map[string]time.Time{"app": newer.IssuedAt})
	equal(s, "none", len(ok[map[string]time.Time](s)(s.store.Issued(s.ctx, "usr_2"))), 0)
	equal(s, "rotated", ok[service.Token](s)(s.store.Token(s.ctx, "1")), t)
}

func (s *suite) keys() {
	a := service.Key{ID: "a", Public: "pem", Sealed: []byte{0, 1, 0xff}, CreatedAt: start, ActiveFrom: start.Add(time.Hour)}
	b := service.Key{ID: "b", Public: "pem", Sealed: []byte{1}, CreatedAt: start, ActiveFrom: start}
	s.do(func(tx service.Tx) error { return errors.Join(tx.InsertKey(s.ctx, a), tx.InsertKey(s.ctx, b)) })
	equal(s, "keys", ok[[]service.Key](s)(s.store.Keys(s.ctx)), []service.Key{b, a})
	s.do(func(tx service.Tx) error { return tx.DeleteKey(s.ctx, "b") })
	equal(s, "the one that is left", ok[[]service.Key](s)(s.store.Keys(s.ctx)), []service.Key{a})
}

func (s *suite) codes() {
	c := service.Code{ID: "1", ContactID: "a@x.example", Salt: []byte{0}, Hash: []byte{0xff}, ExpiresAt: start}
	s.do(func(tx service.Tx) error { return errors.Join(tx.InsertCode(s.ctx, c), tx.TriedCode(s.ctx, "1")) })
	c.Tries = 1
	equal(s, "code", ok[service.Code](s)(s.store.Code(s.ctx, "1")), c)
	s.do(func(tx service.Tx) error { return tx.UseCode(s.ctx, "1") })
	_, err := s.store.Code(s.ctx, "1")
	s.missing("used", err)
}

func (s *suite) attempts() {
	s.do(func(tx service.Tx) error {
		var err error
		for i, ip := range []string{"1.1.1.1", "1.1.1.1", "2.2.2.2"} {
			for _, subject := range []string{"a", "b"} {
				err = errors.Join(err, tx.InsertAttempt(s.ctx, service.Attempt{Kind: "login", Subject: subject, IP: ip, At: start.Add(time.Duration(i) * time.Minute)}))
			}
		}
		return err
	})
	for _, tt := range []struct {
		kind, subject, ip string
		since             time.Duration
		want              int
	}{
		{"login", "a", "1.1.1.1", -1, 2}, {"login", "a", "1.1.1.1", 0, 1}, {"login", "", "1.1.1.1", -1, 4}, {"login", "b", "", -1, 3},
		{"code", "a", "", -1, 0}, {"login", "c", "", -1, 0},
	} {
		since := start.Add(tt.since)
		n, first, err := s.store.Attempts(s.ctx, tt.kind, tt.subject, tt.ip, since)
		if err != nil || n != tt.want || (n > 0) != first.After(since) {
			s.Errorf("%+v: %d from %v, %v", tt, n, first, err)
		}
	}
	s.do(func(tx service.Tx) error { return tx.ClearAttempts(s.ctx, "login", "a", "1.1.1.1") })
	if n, _, err := s.store.Attempts(s.ctx, "login", "", "", start.Add(-1)); err != nil || n != 4 {
		s.Errorf("%d attempts are left, %v", n, err)
	}
}

func (s *suite) expiry() {
	s.insert(account(1))
	revoked := session("2", "phone", start)
	rotated := token("2")
	s.do(func(tx service.Tx) error {
		err := errors.Join(tx.InsertSession(s.ctx, session("1", "phone", start)), tx.InsertSession(s.ctx, revoked))
		revoked.RevokedAt = start
		of2 := token("3")
		of2.SessionID = "2"
		return errors.Join(err, tx.UpdateSession(s.ctx, revoked),
			tx.InsertToken(s.ctx, token("1")), tx.InsertToken(s.ctx, rotated), tx.InsertToken(s.ctx, of2), tx.RotateToken(s.ctx, "2", "1", start),
			tx.InsertCode(s.ctx, service.Code{ID: "1", ContactID: "c", Salt: []byte{0}, Hash: []byte{0}, ExpiresAt: start}),
			tx.InsertAttempt(s.ctx, service.Attempt{Kind: "login", Subject: "a", IP: "i", At: start}),
			tx.LoseRole(s.ctx, service.LostRole{UserID: "usr_1", AppID: "app", Role: "r", At: start}))
	})
	count := func() (n int) {
		for _, id := range []string{"1", "2", "3"} {
			if _, err := s.store.Token(s.ctx, id); err == nil {
				n++
			}
			if _, err := s.store.Session(s.ctx, id); err == nil {
				n++
			}
		}
		if _, err := s.store.Code(s.ctx, "1"); err == nil {
			n++
		}
		a, _, err := s.store.Attempts(s.ctx, "login", "", "", time.Time{}.Add(1))
		if err != nil {
			s.Fatal(err)
		}
		return n + a + len(ok[[]service.LostRole](s)(s.store.RolesLost(s.ctx, "")))
	}
	at := func(t time.Time) service.Expiry {
		return service.Expiry{Rotated: t, Sessions: t, Codes: t, Attempts: t, Lost: t}
	}
	s.do(func(tx service.Tx) error { return tx.Expire(s.ctx, at(start)) })
	equal(s, "kept", count(), 8)
	s.do(func(tx service.Tx) error { return tx.Expire(s.ctx, at(start.Add(time.Second))) })
	equal(s, "kept: a session and its token", count(), 2)
}
