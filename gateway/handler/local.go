package handler

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"micromesh/gateway/http1"
	"micromesh/pkg/auth"
)

// Pages is what the gateway's own pages show.
type Pages struct {
	OpenAPI  func() Document
	Docs     func() Document // for people, as HTML that needs no script
	Policy   string          // Content-Security-Policy of Docs
	Keys     func() []*auth.Key
	Revoked  func() auth.Revoked
	Ready    func() error // why the gateway can't serve yet, or nil
	Metrics  prometheus.Gatherer
	Events   http1.Handler // the stream of events; nil leaves it out
	Dead     *DeadLetters  // of consumers of events; nil leaves them out
	Programs http1.Handler // programs in plain go-micro; nil leaves it out
	Schemas  http1.Handler // how it stands with services' schemas; nil leaves it out
}

// Document is a page that changes now and then.
type Document struct {
	Body []byte
	Tag  string // entity tag (RFC 9110, 8.8.3)
}

// Handlers gives the pages by their path.
func (p Pages) Handlers() map[string]http1.Handler {
	out := map[string]http1.Handler{
		"/":                      get(p.welcome),
		"/healthz":               get(p.healthz),
		"/readyz":                get(p.readyz),
		"/openapi.json":          get(p.openAPI),
		DocsPath:                 get(p.docs),
		"/.well-known/jwks.json": get(p.jwks),
		RevocationsPath:          get(p.revocations),
	}
	metrics := http1.AdaptHandler(promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{DisableCompression: true}))
	out["/metrics"] = get(metrics.ServeHTTP1)
	if p.Events != nil {
		out[EventsPath] = get(p.Events.ServeHTTP1)
	}
	if p.Dead != nil {
		out[DeadPath] = get(p.Dead.list)
		out[ReplayPath] = http1.HandlerFunc(p.Dead.replay)
	}
	if p.Programs != nil {
		out[ProgramsPath] = get(p.Programs.ServeHTTP1)
	}
	if p.Schemas != nil {
		out[SchemasPath] = get(p.Schemas.ServeHTTP1)
	}
	return out
}

// get serves GET and HEAD alone.
func get(f func(*http1.Exchange)) http1.Handler {
	return http1.HandlerFunc(func(x *http1.Exchange) {
		switch string(x.Method()) {
		case http.MethodGet, http.MethodHead:
			f(x)
		default:
			x.Header().Set("Allow", "GET, HEAD")
			x.Fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "this path takes GET")
		}
	})
}

func (p Pages) welcome(x *http1.Exchange) {
	x.Respond(http.StatusOK, jsonType, []byte(`{"name":"micromesh gateway","api":"/openapi.json","docs":"/docs","health":"/healthz"}`))
}

// healthz tells that the process lives; readyz that it can lead requests.
func (p Pages) healthz(x *http1.Exchange) {
	x.Respond(http.StatusOK, jsonType, []byte(`{"status":"ok"}`))
}

func (p Pages) readyz(x *http1.Exchange) {
	if err := p.Ready(); err != nil {
		x.Header().Set("Retry-After", "1")
		x.Fail(http.StatusServiceUnavailable, "NOT_READY", err.Error())
		return
	}
	x.Respond(http.StatusOK, jsonType, []byte(`{"status":"ready"}`))
}

func (p Pages) openAPI(x *http1.Exchange) {
	p.OpenAPI().respond(x, jsonType)
}

// DocsPath is where people read what services there are.
const DocsPath = "/docs"

func (p Pages) docs(x *http1.Exchange) {
	h := x.Header()
	h.Set("Content-Security-Policy", p.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	p.Docs().respond(x, "text/html; charset=utf-8")
}

// respond answers with the document, or that it is still the one that the client has.
func (d Document) respond(x *http1.Exchange, contentType string) {
	x.Header().Set("ETag", d.Tag)
	x.Header().Set("Cache-Control", "no-cache")
	if fresh(string(x.Get("if-none-match")), d.Tag) {
		x.Respond(http.StatusNotModified, "", nil)
		return
	}
	x.Respond(http.StatusOK, contentType, d.Body)
}

// fresh compares a tag with those that a client has. Proxies on the way may have made them weak (RFC 9110, 13.1.2).
func fresh(ifNoneMatch, tag string) bool {
	for one := range strings.SplitSeq(ifNoneMatch, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}

// RevocationsPath is where services that verify tokens themselves learn which are void before they expire. It lists
// ids alone, which say nothing about anybody.
const RevocationsPath = "/.well-known/revocations.json"

func (p Pages) revocations(x *http1.Exchange) {
	b, err := json.Marshal(p.Revoked())
	if err != nil {
		x.Fail(http.StatusInternalServerError, "INTERNAL", "something went wrong on our side")
		return
	}
	tagged(b).respond(x, jsonType)
}

// tagged makes a document whose tag is the hash of its content.
func tagged(b []byte) Document {
	sum := sha256.Sum256(b)
	return Document{b, `"` + hex.EncodeToString(sum[:12]) + `"`}
}

// jwk is a public RSA key (RFC 7517, RFC 7518 section 6.3.1). It has no private fields to leak.
type jwk struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	N   string `json:"n"`
	E   string `json:"e"`
}

func (p Pages) jwks(x *http1.Exchange) {
	keys := []jwk{}
	for _, k := range p.Keys() {
		keys = append(keys, toJWK(k.ID, k.Public()))
	}
	b, err := json.Marshal(map[string][]jwk{"keys": keys})
	if err != nil {
		x.Fail(http.StatusInternalServerError, "INTERNAL", "something went wrong on our side")
		return
	}
	tagged(b).respond(x, jsonType) // without a time to keep it: a key that was removed must no longer count
}

func toJWK(kid string, k *rsa.PublicKey) jwk {
	enc := base64.RawURLEncoding.EncodeToString
	return jwk{Kty: "RSA", Use: "sig", Alg: "RS256", Kid: kid, N: enc(k.N.Bytes()), E: enc(big.NewInt(int64(k.E)).Bytes())}
}
