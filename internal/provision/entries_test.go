package provision_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"micromesh/internal/meshtest/upstream"
	"micromesh/internal/provision"
	"micromesh/pkg/auth"
	"micromesh/pkg/discovery"
	"micromesh/pkg/host"
	"micromesh/pkg/kv"
	"micromesh/pkg/logtest"
	"micromesh/pkg/routing"

	gateway "micromesh/gateway/app"
)

// insider has the login of a service on NATS, and has the server write where that login may not.
type insider struct {
	t  *testing.T
	nc *nats.Conn
	js jetstream.JetStream
	n  int
}

const insiders = "shop-svc"

func newInsider(t *testing.T, s natsServer) *insider {
	t.Helper()
	nc := s.connect(t, insiders)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &insider{t: t, nc: nc, js: js}
}

// write writes an entry: it has another entry, with the same value and headers, read to its subject.
func (i *insider) write(bucket, key string, value []byte, headers nats.Header) {
	i.t.Helper()
	i.n++
	own := fmt.Sprintf("$KV.nodes.%s.%d", insiders, i.n)
	if _, err := i.js.PublishMsg(i.t.Context(), &nats.Msg{Subject: own, Data: value, Header: headers}); err != nil {
		i.t.Fatal(err)
	}
	if err := i.nc.PublishRequest("$JS.API.DIRECT.GET.KV_nodes."+own, "$KV."+bucket+"."+key, nil); err != nil {
		i.t.Fatal(err)
	}
}

// forgery makes a token like another, signed by a key that the bucket of keys is to hold.
type forgery struct {
	key *rsa.PrivateKey
	kid string
}

func (f forgery) entry(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return jsonOf(t, auth.Key{ID: f.kid, PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
}

func (f forgery) token(t *testing.T, like string) string {
	t.Helper()
	head := base64.RawURLEncoding.EncodeToString(jsonOf(t, obj{"alg": "RS256", "kid": f.kid, "typ": "JWT"}))
	signed := head + "." + strings.Split(like, ".")[1]
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, f.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// session is the id of a token's session.
func session(t *testing.T, token string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct{ SID, Sid string }
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.SID + claims.Sid
}

// guestNode is the record of a node that says it is a guest.
func guestNode(t *testing.T, name, address string) []byte {
	t.Helper()
	return jsonOf(t, obj{"name": name, "version": "1", "ttl": 60000, "nodes": []obj{
		{"id": "evil", "address": address, "metadata": obj{"via": "stock", "transport": "http"}},
	}})
}

// TestALoginOnNATSWritesNoStateOfOthers has the server write into the buckets of all services on behalf of a login that may not.
func TestALoginOnNATSWritesNoStateOfOthers(t *testing.T) {
	s := startNATS(t, provision.Other(insiders))
	log := &logtest.Buffer{}
	logger := slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), &slog.HandlerOptions{Level: slog.LevelWarn}))
	url := runMesh(t, s, logger)
	web, evil := upstream.Start(t), upstream.Start(t)
	admin := token(call(t, 200, "POST", url+"/user-svc/login", "", obj{"slug": "admin", "password": "changeme"}))
	joe := token(call(t, 200, "POST", url+"/user-svc/register", "", obj{"slug": "joe", "password": "password-of-joe"}))
	call(t, 201, "PUT", url+"/registry-svc/instance", joe, obj{"url": web.URL})
	call(t, 200, "GET", url+"/joe/hello", joe, nil)
	gone := joe
	call(t, 200, "DELETE", url+"/user-svc/tokens", gone, obj{})
	joe = token(call(t, 200, "POST", url+"/user-svc/login", "", obj{"slug": "joe", "password": "password-of-joe"}))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	observer := s.host(t, gateway.Name, logger)
	believer := s.stranger(t, nil, slog.New(slog.DiscardHandler)) // who believes what NATS says
	i, f, del := newInsider(t, s), forgery{key, "key_forged"}, nats.Header{"KV-Operation": {"DEL"}}
	astray := func(slug string) []byte {
		return jsonOf(t, routing.Slug{Slug: slug, Instances: []routing.Target{{ID: "i1", URL: evil.URL, Status: routing.Healthy}}})
	}
	i.write(kv.Keys, f.kid, f.entry(t), nil)
	i.write(kv.Permits, kv.Key("evil"), jsonOf(t, auth.Permit{AppID: auth.AnyApp, Permission: "joe:pet:view", Slugs: []string{"joe"}}), nil)
	i.write(kv.Accounts, kv.DeletedAccount("joe"), []byte("{}"), nil)
	i.write(kv.Instances, routing.InstanceKey("ghost", "i1"), jsonOf(t, routing.Instance{ID: "i1", Slug: "ghost", URL: evil.URL, Status: routing.Healthy}), nil)
	i.write(kv.Routing, routing.SlugKey("spook"), astray("spook"), nil)
	i.write(kv.Routing, routing.SlugKey("joe"), astray("joe"), nil)
	i.write(kv.Nodes, discovery.Key("payments", "evil"), guestNode(t, "payments", strings.TrimPrefix(evil.URL, "http://")), nil)
	i.write(kv.Revocations, auth.SessionKey(session(t, gone)), nil, del)
	await(t, "the guest is written", func() bool { return believer.Nodes.Lookup("payments") != nil })
	for _, bucket := range []string{kv.Keys, kv.Permits, kv.Accounts, kv.Instances, kv.Routing, kv.Nodes, kv.Revocations} {
		await(t, bucket+" is refused", func() bool { return refusedIn(log.String(), bucket) })
	}
	for range 3 {
		for _, c := range []struct {
			method, path, token string
			status              int
		}{
			{"POST", "/user-svc/users", f.token(t, admin), 401},
			{"POST", "/user-svc/self", gone, 401},
			{"GET", "/ghost/", "", 404},
			{"GET", "/spook/", "", 404},
			{"GET", "/joe/hello", joe, 200},
			{"POST", "/user-svc/users", admin, 200},
		} {
			if status := statusOf(t, c.method, url+c.path, c.token); status != c.status {
				t.Errorf("%s %s: %d, want %d", c.method, c.path, status, c.status)
			}
		}
		if may := call(t, 200, "POST", url+"/user-svc/self/has/joe:pet:view", joe, nil)["authorized"]; may == true {
			t.Error("joe has a permit that was never saved")
		}
		if observer.Nodes.Lookup("payments") != nil {
			t.Error("a guest is known that the registry has not brought in")
		}
	}
	restored(t, observer, f.kid, auth.SessionKey(session(t, gone)))
	if n := evil.Requests(); n != 0 {
		t.Errorf("%d requests went astray", n)
	}
}

// statusOf makes one request.
func statusOf(t *testing.T, method, url, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = rsp.Body.Close()
	return rsp.StatusCode
}

// refusedIn reports whether a process has refused an entry of a bucket.
func refusedIn(log, bucket string) bool {
	return strings.Contains(log, "entry_refused bucket="+bucket+" ")
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what, "is not so in time")
		}
	}
}

// restored waits until the owner has put the buckets right.
func restored(t *testing.T, h *host.Host, key, revocation string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	await(t, "the forged key is gone", func() bool {
		v, err := kv.Lookup(ctx, h.JS, kv.Keys, key, h.Seal())
		return err == nil && v == nil
	})
	await(t, "the revocation is back", func() bool {
		v, err := kv.Lookup(ctx, h.JS, kv.Revocations, revocation, h.Seal())
		return err == nil && v != nil
	})
}
