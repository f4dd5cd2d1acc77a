package ident_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"micromesh/pkg/ident"
)

// forms maps what someone writes to its canonical form; "" is refused.
type forms map[string]string

func (f forms) check(t *testing.T, canonical func(string) (string, error)) {
	t.Helper()
	for in, want := range f {
		got, err := canonical(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
		if err == nil {
			if again, err := canonical(got); again != got || err != nil {
				t.Errorf("%q: its canonical form %q becomes %q, %v", in, got, again, err)
			}
		}
	}
}

// itself turns a check into a function that returns what it accepts.
func itself(check func(string) error) func(string) (string, error) {
	return func(s string) (string, error) {
		if err := check(s); err != nil {
			return "", err
		}
		return s, nil
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	forms{
		"ann@example.com": "ann@example.com", "Ann@Example.COM": "ann@example.com", " ann@example.com ": "ann@example.com",
		"a.b+tag@sub.example.co": "a.b+tag@sub.example.co", "o'neil@example.com": "o'neil@example.com",
		// One domain, two spellings: mail goes to the form that is compared.
		"ann@bücher.example": "ann@xn--bcher-kva.example", "ann@BÜCHER.example": "ann@xn--bcher-kva.example",
		"ann@bu\u0308cher.example": "ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example": "ann@xn--bcher-kva.example",
		"info@\uff47ithub.com": "info@github.com", "info@github\u3002com": "info@github.com",
		// Letters that package strings folds to ASCII stay another name's.
		"info@g\u0130thub.com":  "info@xn--github-qyd.com",
		"info@\u212Aiwi.com":    "info@kiwi.com",
		"\u212Aiwi@example.com": "", "\u0130nfo@example.com": "", "jos\u00e9@example.com": "", "jose\u0301@example.com": "",
		"info@example.com.": "", "info@example..com": "", "info@.example.com": "", "info@example.com..": "", ".info@example.com": "",
		"info.@example.com": "", "in..fo@example.com": "", "info@example": "", "info@1.2.3.4": "", "info@[1.2.3.4]": "", "info@[::1]": "",
		"info@example.0x7f": "", "info@example.com:25": "", "a@b@example.com": "", "\"a b\"@example.com": "", "a b@example.com": "",
		"ann@exa_mple.com": "", "ann@-example.com": "", "ann@example-.com": "", "ann@xn--zzzzzz.com": "", "Ann <ann@example.com>": "",
		"ann@example.com\r\nBcc: x@y.example": "", "ann@exam\u200bple.com": "ann@example.com", "ann\u200b@example.com": "", "": "", "@": "", "@example.com": "", "ann@": "",
		strings.Repeat("a", 64) + "@example.com": strings.Repeat("a", 64) + "@example.com", strings.Repeat("a", 65) + "@example.com": "",
		"a@" + strings.Repeat("a.", 130) + "com": "", "ann@" + strings.Repeat("b", 64) + ".com": "", "ann\x00@example.com": "", "ann@example.com\x00": "",
	}.check(t, ident.Email)
}

func TestContact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ platform, handle, want string }{
		{"email", "Ann@Example.com", "ann@example.com"},
		{"phone", "+43 1", ""},
		{"phone", "+431", "phone:+431"},
		{"telegram", "Ann", "telegram:ann"},
		{"telegram", "\u212Aurt", ""},
		{"telegram", "", ""},
		{"Email", "ann@example.com", ""},
		{"tele\u212Aom", "ann", ""},
		{"te:le", "ann", ""},
		{"", "ann@example.com", ""},
	} {
		got, err := ident.Contact(c.platform, c.handle)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q %q: got %q, %v, want %q", c.platform, c.handle, got, err, c.want)
		}
	}
	forms{
		"Ann@example.com": "ann@example.com", "telegram:Ann": "telegram:ann", "email:ann@example.com": "", "ann": "", ":ann": "", "telegram:": "",
	}.check(t, ident.ContactID)
}

func TestHost(t *testing.T) {
	t.Parallel()
	forms{
		"shop.example.com": "shop.example.com", "Shop.Example.com.": "shop.example.com", "shop.example:8443": "shop.example:8443", "unnamed": "unnamed",
		"my_app": "my_app", "localhost:80": "localhost:80", "127.0.0.1:9000": "127.0.0.1:9000", "[::1]:9000": "[::1]:9000", "[::1]": "[::1]", "::1": "[::1]",
		"[::FFFF:127.0.0.1]:80": "127.0.0.1:80", "b\u00fccher.example": "xn--bcher-kva.example", "\u212Aiwi.example": "kiwi.example",
		"g\u0130thub.com": "xn--github-qyd.com",
		"":                "", ".": "", "a..b": "", "shop.example:0": "", "shop.example:080": "", "shop.example:65536": "", "shop.example:": "", "a b": "", "a/b": "", "a@b": "",
		"-a.example": "", "2130706433": "", "0x7f.1": "", "127.1": "", "[127.0.0.1]": "", "[::1": "", "::1]": "", "[fe80::1%eth0]:80": "", "*": "", "xn--zzzzzz.com": "",
	}.check(t, ident.Host)
}

func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 200)
	for name, c := range map[string]struct {
		check func(string) error
		forms forms
	}{
		"slug": {ident.Slug, forms{
			"pet-svc": "pet-svc", "a1": "a1", "a": "", "Pet": "", "-a": "", "a-": "", "a--b": "", "a_b": "", "a.b": "", "\u0430dmin": "", "\uff41dmin": "",
			"ad\u200bmin": "", "": "", strings.Repeat("a", 63): strings.Repeat("a", 63), strings.Repeat("a", 64): "", "a/b": "", "%2e": "",
		}},
		"role": {ident.Role, forms{
			"shop:clerk": "shop:clerk", "user-svc:org:{org_1}:admin": "user-svc:org:{org_1}:admin", "shop:A.b_c*-": "shop:A.b_c*-", "shop:x,user-svc:admin": "",
			"shop:": "", ":x": "", "shop": "", "Shop:x": "", "shop:x y": "", "shop:x\n": "", "shop:\u00e9": "", "shop:x;y": "", "shop:" + long: "", "shop:x\x00": "",
		}},
		"id": {ident.ID, forms{
			"usr_1": "usr_1", "A.b:c-{d}*": "A.b:c-{d}*", "a,b": "", "a b": "", "a/b": "", "": "", long: "", "a\u200b": "",
		}},
		"organization id": {ident.OrganizationID, forms{
			"org_1": "org_1", "A.b-c": "A.b-c", "a}:admin:{b": "", "a:b": "", "*": "", "a,b": "", "": "", long: "",
		}},
		"text": {ident.Text, forms{
			"Ann's phone": "Ann's phone", "\u00e9": "\u00e9", "a\nb": "", "a\u202eb": "", "a\u200bb": "", long + long: "",
		}},
		"time": {ident.Time, forms{
			"2026-01-02T15:04:05Z": "2026-01-02T15:04:05Z", "2026-01-02T15:04:05.123+01:00": "2026-01-02T15:04:05.123+01:00", "2026-01-02": "", "now": "", "": "",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.forms.check(t, itself(c.check))
		})
	}
}

func TestReserved(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"docs": true, "Metrics": true, "USER-SVC": true, "config-svc": true, "shop-svc": false, "\u212Aconsole": false} {
		if got := ident.Reserved(name); got != want {
			t.Errorf("%s: reserved is %v", name, got)
		}
	}
}

// FuzzCanonical has every canonical form be its own canonical form, and hold nothing that another program reads differently.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"info@g\u0130thub.com", "a@xn--bcher-kva.example", "Ann@B\u00fccher.Example.", "[::1]:80", "\u212A@\u212A.de", "shop:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, canonical := range map[string]func(string) (string, error){"email": ident.Email, "contact": ident.ContactID, "host": ident.Host} {
			got, err := canonical(s)
			if err != nil {
				continue
			}
			if again, err := canonical(got); err != nil || again != got {
				t.Errorf("%s %q: %q becomes %q, %v", name, s, got, again, err)
			}
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r > unicode.MaxASCII || r <= ' ' }) {
				t.Errorf("%s %q: %q", name, s, got)
			}
			if ident.LowerASCII(got) != got || strings.ToLower(got) != got {
				t.Errorf("%s %q: %q is not in lower case", name, s, got)
			}
		}
	})
}
