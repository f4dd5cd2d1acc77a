package ident

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds in bytes. A token carries roles and ids, and must stay below the 8 KiB that every verifier accepts.
const (
	MaxSlug           = 63
	MaxRole           = 128
	MaxID             = 128
	MaxOrganizationID = 64
	MaxText           = 256
)

// slugLetters are the characters of slugs.
const slugLetters = "abcdefghijklmnopqrstuvwxyz0123456789-"

var errSlug = errors.New("must be 2 to 63 of the letters a-z and the digits, in parts joined by single hyphens")

// Slug checks the name of an account or an organization: [a-z0-9]+(-[a-z0-9]+)*, 2 to 63 characters, in lower case.
func Slug(s string) error {
	ok := len(s) >= 2 && len(s) <= MaxSlug && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--")
	for i := 0; ok && i < len(s); i++ {
		ok = s[i] == '-' || isLowerOrDigit(s[i])
	}
	if !ok {
		return errSlug
	}
	return nil
}

// Role checks a role or a permission: letters a-z, digits and hyphens, a colon, and at least one of [A-Za-z0-9._{}*:-], 128 bytes at most.
// The part before the colon is the slug that owns the role. Letters after it are case-sensitive. No other character is allowed, since
// roles are joined by commas in the header X-Roles.
func Role(s string) error {
	prefix, rest, ok := strings.Cut(s, ":")
	if !ok || prefix == "" || rest == "" || strings.TrimLeft(prefix, slugLetters) != "" || !only(rest, "._{}*:-") {
		return errors.New("must be a slug, a colon, and then letters, digits and ._{}*:- alone, such as pet-svc:pet:edit")
	}
	if len(s) > MaxRole {
		return fmt.Errorf("has %d bytes; at most %d are allowed", len(s), MaxRole)
	}
	return nil
}

// Permission checks a permission. Its grammar is that of [Role].
func Permission(s string) error { return Role(s) }

// ID checks an id: [A-Za-z0-9._{}*:-], 1 to 128 bytes, case-sensitive.
func ID(s string) error {
	if strings.Trim(s, ".") == "" || len(s) > MaxID || !only(s, "._{}*:-") {
		return fmt.Errorf("must be 1 to %d letters, digits and ._{}*:-, and not dots alone", MaxID)
	}
	return nil
}

// OrganizationID checks the id of an organization: [A-Za-z0-9._-], 1 to 64 bytes. It is narrower than [ID], because the id stands between
// braces and colons in the roles of members, and could otherwise read as another organization's.
func OrganizationID(s string) error {
	if strings.Trim(s, ".") == "" || len(s) > MaxOrganizationID || !only(s, "._-") {
		return fmt.Errorf("must be 1 to %d letters, digits and ._-, and not dots alone", MaxOrganizationID)
	}
	return nil
}

// RefreshTokenPrefix is the beginning of refresh tokens.
const RefreshTokenPrefix = "mrt_"

// OrganizationOf returns the id of the organization that a role belongs to: "acme" of "user-svc:org:{acme}:admin".
func OrganizationOf(role string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(role, "user-svc:org:{")
	if !ok {
		return "", false
	}
	id, _, ok = strings.Cut(rest, "}:")
	return id, ok && OrganizationID(id) == nil
}

// Platform checks the name of a platform of contacts: email, or [a-z0-9-]{1,32}.
func Platform(s string) error {
	ok := s != "" && len(s) <= 32
	for i := 0; ok && i < len(s); i++ {
		ok = s[i] == '-' || isLowerOrDigit(s[i])
	}
	if !ok {
		return errors.New("must be email or the name of another platform, in the letters a-z and digits")
	}
	return nil
}

// Text checks a line that people read: at most 256 characters, without control characters and without characters that make a text look like
// another one.
func Text(s string) error {
	if n := utf8.RuneCountInString(s); n > MaxText {
		return fmt.Errorf("has %d characters; at most %d are allowed", n, MaxText)
	}
	if strings.ContainsFunc(s, isHidden) {
		return errors.New("must not have control characters, or characters that hide or turn text")
	}
	return nil
}

// Time checks a time in RFC 3339.
func Time(s string) error {
	if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
		return errors.New("must be a time in RFC 3339, such as 2026-01-02T15:04:05Z")
	}
	return nil
}

// LowerASCII returns s with the letters A to Z in lower case. Letters of other scripts stay as they are.
func LowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// only reports whether s consists of ASCII letters, digits and the given characters.
func only(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLowerOrDigit(c) && (c < 'A' || c > 'Z') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

// isHidden reports whether r is a control character, or one that makes a text look like another one: line separators, marks of direction,
// and characters without width.
func isHidden(r rune) bool {
	switch {
	case r < ' ', 0x7f <= r && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffd, r == 0xad:
		return true
	case 0x200b <= r && r <= 0x200f, 0x202a <= r && r <= 0x202e, 0x2060 <= r && r <= 0x206f, 0xe0000 <= r && r <= 0xe007f:
		return true
	}
	return false
}
