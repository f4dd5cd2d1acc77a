package service

import (
	"slices"
	"strings"

	"micromesh/pkg/errs"
)

// reservedSlugs belong to the mesh, or would be mistaken for a part of it.
var reservedSlugs = []string{
	".well-known", "1backend", "admin", "administrator", "api", "apis", "app", "apps", "assets", "auth", "config", "config-svc", "console", "dashboard",
	"debug", "deploy", "deploy-svc", "docs", "echo", "events", "favicon-ico", "forwarder", "forwarder-svc", "gateway", "gateway-svc", "health", "healthcheck", "healthz",
	"help", "internal", "livez", "localhost", "login", "logout", "mesh", "metrics", "micro", "micromesh", "nats", "oauth", "oauth2", "oidc",
	"openapi", "openapi.json", "operator", "ping", "policy", "policy-svc", "postgres", "pprof", "proxy", "proxy-svc", "ready", "readyz", "register",
	"registry", "registry-svc", "root", "rpc", "secret", "secret-svc", "signin", "signup", "static", "status", "sys", "system", "unnamed", "user",
	"user-svc", "well-known", "www",
}

var errSlugTaken = errs.New(errs.Conflict, "SLUG_TAKEN", "the slug is taken: choose another one")

// cleanSlug gives a slug in lower case. Errors: Invalid for anything that is none; Conflict for one that the mesh keeps.
func cleanSlug(s string) (string, error) {
	s = lowerASCII(s)
	if slices.Contains(reservedSlugs, s) {
		return "", errSlugTaken
	}
	return s, checkSlug(s)
}

// checkSlug tells whether s is [a-z0-9]+(-[a-z0-9]+)* of 2 to 63 characters.
func checkSlug(s string) error {
	ok := len(s) >= 2 && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' && !strings.Contains(s, "--")
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c == '-' || ('a' <= c && c <= 'z') || ('0' <= c && c <= '9')
	}
	if !ok {
		return errs.Field("slug", "slug", "must be 2 to 63 of the letters a-z and the digits, in parts joined by single hyphens")
	}
	return nil
}

// lowerASCII folds A to Z alone: letters of other alphabets that fold to ASCII must stay what they are, and be refused.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
