package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"micromesh/internal/chaos"
	"micromesh/internal/cluster"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
	"micromesh/pkg/events"
	"micromesh/pkg/sqldb/sqldbtest"
)

// slack is added to bounds that are short, since tests share their machine; the figures are logged as they are.
const slack = time.Second

// patience is how long a test waits for what must come but has no bound of its own.
const patience = 30 * time.Second

type obj = map[string]any

func TestMain(m *testing.M) {
	playInstance()
	playMesh()
	playNewer()
	cluster.Main(m)
}

// mesh is one of processes, with one instance of shop-svc behind it.
type mesh struct {
	*meshtest.Mesh
	cluster *cluster.Cluster
	token   string // of shop-svc
}

// start starts a mesh whose processes have settings of their own. All its gateways lead to the shop.
func start(t *testing.T, cfg cluster.Config) *mesh {
	t.Helper()
	if cfg.Of == nil {
		cfg.Of = map[string]map[string]string{}
	}
	user := map[string]string{"MICRO_ADMIN_SLUG": meshtest.AdminSlug, "MICRO_ADMIN_PASSWORD": meshtest.AdminPassword, "MICRO_TOKEN_EXPIRATION": "1h"}
	maps.Copy(user, cfg.Of["user"])
	cfg.Of["user"] = user
	c := cluster.Start(t, cfg)
	m := &mesh{Mesh: &meshtest.Mesh{URL: c.Gateway(0)}, cluster: c}
	m.token = m.Register(t, "shop-svc")
	m.Do(t, "PUT", "/registry-svc/instance", m.token, obj{"url": upstream.Start(t).URL}).Must(t, http.StatusCreated)
	for i := range c.Services["gateway"] {
		eventually(t, "the shop is reachable", patience, func() bool { return status(t, "GET", c.Gateway(i)+"/shop-svc/", "", nil) == http.StatusOK })
	}
	return m
}

// figure logs what a row of docs/reliability.md was measured at.
func figure(t *testing.T, row, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+row+": "+format, args...)
}

// eventually waits until something has come true, and gives how long that took.
func eventually(t *testing.T, what string, within time.Duration, cond func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > within {
			t.Errorf("not within %v: %s", within, what)
			return time.Since(began)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// client opens a connection for each request, as clients do that come and go.
var client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// ask makes a request that may fail.
func ask(ctx context.Context, method, url, token string, in any) (meshtest.Answer, error) {
	return askBy(ctx, client, method, url, token, in)
}

// askBy makes it by a client of the caller's.
func askBy(ctx context.Context, client *http.Client, method, url, token string, in any) (meshtest.Answer, error) {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return meshtest.Answer{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, &body)
	if err != nil {
		return meshtest.Answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	rsp, err := client.Do(req)
	if err != nil {
		return meshtest.Answer{}, err
	}
	defer rsp.Body.Close()
	b, err := io.ReadAll(rsp.Body)
	return meshtest.Answer{Status: rsp.StatusCode, Header: rsp.Header, Body: b}, err
}

// status makes a request and gives the status of its answer, 0 for none.
func status(t *testing.T, method, url, token string, in any) int {
	t.Helper()
	a, err := ask(t.Context(), method, url, token, in)
	if err != nil {
		return 0
	}
	return a.Status
}

// login is a request to sign in as the shop.
var login = obj{"appHost": "unnamed", "slug": "shop-svc", "password": "password-of-shop-svc"}

// signIn signs in and gives the status, and how long that took.
func (m *mesh) signIn(t *testing.T) (int, time.Duration) {
	t.Helper()
	began := time.Now()
	return status(t, "POST", m.URL+"/user-svc/login", "", login), time.Since(began)
}

// account is a request to register one.
func account(slug string) obj {
	return obj{"appHost": "unnamed", "slug": slug, "name": slug, "password": "password-of-" + slug}
}

// faulty are settings that give services databases behind a proxy.
func faulty(t *testing.T, delay time.Duration, services ...string) (*chaos.Proxy, map[string]map[string]string) {
	t.Helper()
	var p *chaos.Proxy
	of := map[string]map[string]string{}
	for _, name := range services {
		raw, ok := sqldbtest.PostgresURL(t)
		if !ok {
			missing(t, "there is no Postgres")
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			if p, err = chaos.NewProxy("tcp", u.Host, delay); u.Host == "" {
				p.Close()
				p, err = chaos.NewProxy("unix", u.Query().Get("host")+"/.s.PGSQL.5432", delay)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
		}
		q := u.Query()
		q.Del("host")
		u.Host, u.RawQuery = p.Address(), q.Encode()
		of[name] = map[string]string{"MICRO_DATABASE_URL": u.String()}
	}
	return p, of
}

// set begins a fault.
func set(t *testing.T, p *chaos.Proxy, f chaos.Fault) {
	t.Helper()
	if err := p.Set(f); err != nil {
		t.Fatal(err)
	}
}

// registered gives how many events tell of the registration of each account, by slug, once there is one for each of
// those that are wanted, or the time is over.
func (m *mesh) registered(t *testing.T, within time.Duration, want []string) (counts map[string]int, took time.Duration) {
	t.Helper()
	began := time.Now()
	v := m.cluster.Host(t.Context()).Events
	ctx, stop := context.WithTimeout(t.Context(), within)
	defer stop()
	counts = map[string]int{}
	missing := map[string]bool{}
	for _, slug := range want {
		missing[slug] = true
	}
	done := errors.New("all are there")
	err := events.Tail(ctx, v, events.TailOptions{Topics: []string{"accounts"}, Since: time.Hour}, func(r events.Record) error {
		var e struct {
			Type    string
			Account struct{ Slug string }
		}
		if err := json.Unmarshal(r.Data, &e); err != nil {
			return err
		}
		if e.Type == "EVENT_TYPE_ACCOUNT_REGISTERED" {
			counts[e.Account.Slug]++
			delete(missing, e.Account.Slug)
		}
		if len(missing) == 0 {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("there are no events of %v: %v", slices.Sorted(maps.Keys(missing)), err)
	}
	return counts, time.Since(began)
}

// refused tells whether nothing was sent, because nobody accepted the connection.
func refused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// missing leaves a test out where this machine lacks what it needs. In CI that is a failure.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
