package ident

import (
	"errors"
	"fmt"
	"strings"
)

// PlatformEmail is the platform of e-mail addresses.
const PlatformEmail = "email"

// MaxHandle is the most bytes of an address (RFC 5321, section 4.5.3.1.3, less the brackets).
const MaxHandle = 254

// maxLocal is the most bytes of the part before the @ (RFC 5321, section 4.5.3.1.1).
const maxLocal = 64

// Contact returns the canonical id of a contact, by which it is saved, compared and written to: the canonical address on the platform
// email, and "<platform>:<handle>" in lower case on others.
func Contact(platform, handle string) (string, error) {
	if err := Platform(platform); err != nil {
		return "", err
	}
	if platform == PlatformEmail {
		return Email(handle)
	}
	handle = strings.TrimSpace(handle)
	if handle == "" || len(handle) > MaxHandle || !printable(handle) {
		return "", fmt.Errorf("must have 1 to %d characters of ASCII, without spaces", MaxHandle)
	}
	return platform + ":" + LowerASCII(handle), nil
}

// ContactID returns the canonical form of a contact's id, as enrolls name it: an e-mail address, or "<platform>:<handle>".
func ContactID(s string) (string, error) {
	platform, handle, ok := strings.Cut(s, ":")
	if !ok {
		return Email(s)
	}
	if platform == PlatformEmail {
		return "", errors.New("must be the address alone, without email: before it")
	}
	return Contact(platform, handle)
}

// Email returns the canonical form of an e-mail address: the local part in lower case, the domain as [Host] returns it. A local part is a
// dot-atom in ASCII (RFC 5322, section 3.2.3); quoted ones, comments, address literals and other scripts before the @ are refused. A
// domain of another script is accepted in its one form of IDNA, to which mail is sent too.
func Email(s string) (string, error) {
	s = strings.TrimSpace(s)
	local, domain, ok := strings.Cut(s, "@")
	if !ok || !isDotAtom(local) {
		return "", errors.New("must be an e-mail address, such as ann@example.com, with ASCII alone before the @")
	}
	domain, err := hostName(domain)
	if err != nil || strings.HasSuffix(s, ".") || !isMailDomain(domain) {
		return "", errors.New("must be an e-mail address with a domain name after the @, such as ann@example.com")
	}
	if len(local) > maxLocal || len(local)+1+len(domain) > MaxHandle {
		return "", fmt.Errorf("must have at most %d bytes, and %d before the @", MaxHandle, maxLocal)
	}
	return LowerASCII(local) + "@" + domain, nil
}

// isDotAtom reports whether s is atoms joined by single dots.
func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || !only(atom, "!#$%&'*+-/=?^_`{|}~") {
			return false
		}
	}
	return true
}

// isMailDomain reports whether mail can be sent to a host: one of two labels or more, whose last one is not a number.
func isMailDomain(host string) bool {
	i := strings.LastIndexByte(host, '.')
	return i > 0 && !strings.Contains(host, "_") && strings.ContainsFunc(host[i:], func(r rune) bool { return 'a' <= r && r <= 'z' })
}

// printable reports whether s is of visible ASCII alone.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
