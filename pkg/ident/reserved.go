package ident

import (
	"slices"
	"strings"
)

// reserved are names that belong to the mesh, or would be mistaken for a part of it.
var reserved = []string{
	".well-known", "1backend", "admin", "administrator", "api", "apis", "app", "apps", "assets", "auth", "config", "config-svc", "console", "dashboard",
	"debug", "deploy", "deploy-svc", "docs", "echo", "events", "favicon-ico", "favicon.ico", "forwarder", "forwarder-svc", "gateway", "gateway-svc",
	"health", "healthcheck", "healthz", "help", "internal", "livez", "localhost", "login", "logout", "mesh", "metrics", "micro", "micromesh", "nats",
	"oauth", "oauth2", "oidc", "openapi", "openapi.json", "operator", "ping", "policy", "policy-svc", "postgres", "pprof", "proxy", "proxy-svc",
	"ready", "readyz", "register", "registry", "registry-svc", "root", "rpc", "secret", "secret-svc", "signin", "signup", "static", "status", "sys",
	"system", "unnamed", "user", "user-svc", "well-known", "www",
}

// own are the slugs of the mesh's own services.
var own = []string{"user-svc", "registry-svc", "proxy-svc", "gateway-svc", "forwarder-svc"}

// Reserved reports whether a name, in any case of its letters, is kept for the mesh: no account can have it as its slug.
func Reserved(name string) bool { return slices.Contains(reserved, LowerASCII(name)) }

// IsReserved reports whether a name is kept for the mesh as it is written.
func IsReserved(name string) bool { return slices.Contains(reserved, name) }

// Own reports whether a slug is that of a service of the mesh itself.
func Own(slug string) bool { return slices.Contains(own, slug) }

// Fold returns the slug that a name could be mistaken for: letters in lower case, and hyphens for underscores and dots. Two names with
// one fold are never given to two owners.
func Fold(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(LowerASCII(name))
}

// ReadsReserved reports whether a name could be mistaken for a reserved one.
func ReadsReserved(name string) bool {
	return slices.ContainsFunc(reserved, func(r string) bool { return Fold(r) == Fold(name) })
}
