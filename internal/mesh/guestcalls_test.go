package mesh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/broker"
	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/metadata"
	"go-micro.dev/v5/registry"
	natsregistry "go-micro.dev/v5/registry/nats"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/logtest"
	userpb "micromesh/user/proto"
)

// Typed is a handler with many types in its request. go-micro registers only some of them.
type Typed struct{}

type (
	TypedLevel int
	TypedName  string
	TypedBase  struct {
		ID     int64 `json:"id"`
		Active bool
	}
	TypedFilter struct {
		Owner string     `json:"owner"`
		Level TypedLevel `json:"level"`
		Limit int        `json:"limit"`
	}
	TypedRequest struct {
		TypedBase
		UserID int64         `json:"user_id"`
		Big    uint64        `json:"big"`
		Tiny   int8          `json:"tiny"`
		Level  TypedLevel    `json:"level"`
		Levels []TypedLevel  `json:"levels"`
		Name   TypedName     `json:"name"`
		Wait   time.Duration `json:"wait"`
		Since  time.Time     `json:"since"`
		Quoted int64         `json:"quoted,string"`
		Flag   bool          `json:"flag,string"`
		Plain  int64         `json:"plain"`
		Ratio  float64       `json:"ratio"`
		Data   []byte        `json:"data"`
		Filter TypedFilter   `json:"filter"`
		Error  string        `json:"error"`
	}
	TypedResponse struct {
		JSON string `json:"json"`
	}
)

func (Typed) Echo(_ context.Context, in *TypedRequest, out *TypedResponse) error {
	switch in.Error {
	case "":
	case "time":
		_, err := time.Parse(time.RFC3339, "yesterday")
		return err
	case "json": // a handler's own mistake, which reads like a decoder's
		var other struct {
			Count int `json:"count"`
		}
		return json.Unmarshal([]byte(`{"count":"x"}`), &other)
	case "gone":
		return merrors.New("typed", "it has gone", http.StatusGone)
	default:
		return errors.New(in.Error)
	}
	b, err := json.Marshal(in)
	out.JSON = string(b)
	return err
}

// Proto is a handler with messages of protobuf.
type Proto struct{}

func (Proto) Echo(_ context.Context, in *userpb.ListUsersRequest, out *userpb.LoginRequest) error {
	out.Slug = fmt.Sprint(in.Limit, in.Ids)
	return nil
}

// Seer is a handler that answers with the metadata of its call.
type Seer struct{}

type (
	SeerRequest  struct{}
	SeerResponse struct {
		Metadata map[string]string `json:"metadata"`
	}
)

func (Seer) See(ctx context.Context, _ *SeerRequest, out *SeerResponse) error {
	out.Metadata = map[string]string{}
	md, _ := metadata.FromContext(ctx)
	for k, v := range md {
		out.Metadata[strings.ToLower(k)] = v
	}
	return nil
}

// Feed is a handler with a stream.
type Feed struct{}

func (Feed) Watch(_ context.Context, s server.Stream) error {
	for s.Send(&SeerResponse{}) == nil {
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (Feed) Get(_ context.Context, _ *SeerRequest, _ *SeerResponse) error { return nil }

// guestKinds are the servers of go-micro, by the ends of the services' names.
var guestKinds = map[string]func(...server.Option) server.Server{"http": server.NewRPCServer, "grpc": mgrpc.NewServer}

// serveAll runs a service as a guest does, with handlers.
func serveAll(t *testing.T, m *mesh.Mesh, name string, newServer func(...server.Option) server.Server, handlers ...any) {
	t.Helper()
	s := newServer(
		server.Name(name), server.Id("1"), server.Address("127.0.0.1:0"), server.Broker(broker.NewMemoryBroker()),
		server.Registry(natsregistry.NewNatsRegistry(registry.Addrs("nats://"+m.NATSAddr().String()))),
		server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
	)
	for _, h := range handlers {
		if err := s.Handle(s.NewHandler(h)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
}

// calledGuests is a mesh with routes.yaml, and guests on both of go-micro's servers under names that end with "http" and "grpc".
func calledGuests(t *testing.T, routes string) (*mesh.Mesh, *meshtest.Mesh, *logtest.Buffer) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "routes.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nroutes:\n"+routes), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &logtest.Buffer{}
	m := start(t, t.TempDir(), func(c *mesh.Config) {
		joinable(c)
		c.Gateway.ExposeStock, c.Gateway.Routes, c.Gateway.GuestHeaders = true, file, []string{"X-Tenant"}
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	for kind, newServer := range guestKinds {
		serveAll(t, m, "Typed_"+kind, newServer, Typed{}, Proto{}, Seer{}, Feed{})
		meshtest.Soon(t, kind+" is found", func() bool { return m.Host.Nodes.Lookup("Typed_"+kind) != nil })
	}
	return m, &meshtest.Mesh{Host: m.Host, URL: "http://" + m.Addr().String()}, log
}

const guestRoutes = `
  - {path: "/http/typed", method: GET, proxy_upstream: Typed_http/Typed.Echo}
  - {path: "/grpc/typed", method: GET, proxy_upstream: Typed_grpc/Typed.Echo}
  - {path: "/http/users/{user_id}", method: GET, proxy_upstream: Typed_http/Typed.Echo}
  - {path: "/grpc/users/{user_id}", method: GET, proxy_upstream: Typed_grpc/Typed.Echo}
  - {path: "/http/proto", method: GET, proxy_upstream: Typed_http/Proto.Echo}
  - {path: "/grpc/proto", method: GET, proxy_upstream: Typed_grpc/Proto.Echo}
  - {path: "/http/watch", method: GET, proxy_upstream: Typed_http/Feed.Watch}
  - {path: "/grpc/watch", method: GET, proxy_upstream: Typed_grpc/Feed.Watch}
  - {path: "/http/nosuch", method: GET, proxy_upstream: Typed_http/Feed.Nosuch}
  - {path: "/grpc/nosuch", method: GET, proxy_upstream: Typed_grpc/Feed.Nosuch}
  - {path: "/Typed_http/{id}", method: GET, proxy_upstream: Typed_http/Typed.Echo}
  - {path: "/Typed_grpc/{id}", method: GET, proxy_upstream: Typed_grpc/Typed.Echo}
`

func TestParametersOfGuestsAreTyped(t *testing.T) {
	t.Parallel()
	_, web, _ := calledGuests(t, guestRoutes)
	for query, want := range map[string]string{
		"user_id=7":                          `"user_id":7`,
		"USER_ID=7":                          `"user_id":7`,
		"User_Id=7":                          `"user_id":7`,
		"id=7":                               `"id":7`, // of an embedded struct
		"ID=7":                               `"id":7`,
		"active=true":                        `"Active":true`,
		"Active=true":                        `"Active":true`,
		"big=18446744073709551615":           `"big":18446744073709551615`,
		"level=3":                            `"level":3`,
		"levels=3&levels=4":                  `"levels":[3,4]`,
		"name=7":                             `"name":"7"`,
		"name=joe":                           `"name":"joe"`,
		"wait=1500":                          `"wait":1500`,
		"wait=1.5s":                          `"wait":1500000000`,
		"since=2026-01-02T15:04:05Z":         `"since":"2026-01-02T15:04:05Z"`,
		"quoted=7":                           `"quoted":"7"`,
		"flag=true":                          `"flag":"true"`,
		"plain=5&quoted=7&level=3&flag=true": `"level":3,"levels":null,"name":"","wait":0,"since":"0001-01-01T00:00:00Z","quoted":"7","flag":"true","plain":5`,
		"ratio=1.5":                          `"ratio":1.5`,
		"data=aGk=":                          `"data":"aGk="`,
		"filter.owner=me":                    `"owner":"me"`,
		"Filter.Owner=7&filter.limit=7":      `"owner":"7","level":0,"limit":7`,
		"filter.level=7":                     `"level":7,"limit":0`,
		"nosuch=7":                           `"user_id":0`,
	} {
		for kind := range guestKinds {
			for range 2 { // the second time the types are known
				a := web.Do(t, "GET", "/"+kind+"/typed?"+query, "", nil)
				if a.Status != 200 || !strings.Contains(a.Text("json"), want) {
					t.Errorf("%s, %s: %d %s, want %s", kind, query, a.Status, a.Body, want)
				}
			}
		}
	}
	for kind := range guestKinds {
		if a := web.Do(t, "GET", "/"+kind+"/users/9?plain=5", "", nil); !strings.Contains(a.Text("json"), `"user_id":9`) {
			t.Errorf("%s: a parameter of the path: %d %s", kind, a.Status, a.Body)
		}
		if a := web.Do(t, "POST", "/Typed_"+kind+"/Typed.Echo?level=3&USER_ID=7", "", `{"plain":5}`); !strings.Contains(a.Text("json"), `"level":3`) || !strings.Contains(a.Text("json"), `"user_id":7`) {
			t.Errorf("%s: parameters of a method: %d %s", kind, a.Status, a.Body)
		}
		if a := web.Do(t, "GET", "/"+kind+"/proto?limit=7&ids=a&ids=b", "", nil); a.Text("slug") != "7 [a b]" {
			t.Errorf("%s: parameters in protobuf: %d %s", kind, a.Status, a.Body)
		}
	}
}

func TestMistakesOfGuestsCallersAreTheirs(t *testing.T) {
	t.Parallel()
	_, web, log := calledGuests(t, guestRoutes)
	const typed, inProto = "/Typed.Echo", "/Proto.Echo"
	for _, row := range []struct{ method, path, body, field string }{
		{"POST", typed, `{"user_id":"x"}`, "user_id"},
		{"POST", typed, `{"id":"x"}`, "id"},
		{"POST", typed, `{"tiny":300}`, "tiny"},
		{"POST", typed, `{"plain":1.5}`, "plain"},
		{"POST", typed, `{"name":5}`, "name"},
		{"POST", typed, `{"level":"x"}`, "level"},
		{"POST", typed, `{"levels":5}`, "levels"},
		{"POST", typed, `{"filter":{"owner":5}}`, "filter.owner"},
		{"POST", typed, `{"filter":[]}`, "filter"},
		{"POST", typed, `{"quoted":5}`, ""},
		{"POST", typed, `{"since":"yesterday"}`, "since"},
		{"POST", typed, `{"since":5}`, "since"},
		{"POST", typed, `{"data":"*"}`, "data"},
		{"GET", "?since=yesterday", "", "since"},
		{"GET", "?data=*", "", "data"},
		{"POST", typed, `{"plain":5,"plain":6}`, "plain"},
		{"POST", typed, `{"plain":`, ""},
		{"POST", typed, `[]`, ""},
		{"GET", "?user_id=x", "", "user_id"},
		{"GET", "?user_id=1&user_id=2", "", "user_id"},
		{"GET", "?user_id=1&USER_ID=2", "", "user_id"},
		{"GET", "?level=x", "", "level"},
		{"GET", "?tiny=300", "", "tiny"},
		{"GET", "?filter=x", "", "filter"},
		{"POST", inProto, `{"nosuch":1}`, "nosuch"},
		{"POST", inProto, `{"limit":"x"}`, "limit"},
	} {
		for kind := range guestKinds {
			path := "/Typed_" + kind + row.path
			if row.method == "GET" {
				path = "/" + kind + "/typed" + row.path
			}
			a := web.Do(t, row.method, path, "", row.body)
			field := ""
			if list, ok := a.Field("details").([]any); ok && len(list) > 0 {
				field, _ = list[0].(map[string]any)["field"].(string)
			}
			if a.Status != 400 || field != row.field || field != "" && !strings.HasPrefix(a.Text("error"), field+" ") {
				t.Errorf("%s %s %s: %d %s, want 400 for %s", row.method, path, row.body, a.Status, a.Body, row.field)
			}
		}
	}
	if strings.Contains(log.String(), "request_failed") {
		t.Errorf("callers' mistakes are logged:\n%s", log.String())
	}
	for kind := range guestKinds {
		for failure, status := range map[string]int{"json": 500, "time": 500, "pq: no password": 500, "gone": 410} {
			a := web.Do(t, "POST", "/Typed_"+kind+typed, "", map[string]string{"error": failure})
			if a.Status != status || strings.Contains(string(a.Body), "password") || strings.Contains(string(a.Body), "count") {
				t.Errorf("%s: a handler's %s: %d %s", kind, failure, a.Status, a.Body)
			}
		}
	}
	if n := strings.Count(log.String(), "request_failed"); n != 6 || !strings.Contains(log.String(), "pq: no password") {
		t.Errorf("%d faults of handlers are logged:\n%s", n, log.String())
	}
}

func TestGuestsLearnTheCaller(t *testing.T) {
	t.Parallel()
	m, web, _ := calledGuests(t, guestRoutes)
	joe := web.Register(t, "joe")
	org := web.Do(t, "PUT", "/user-svc/organization", joe, map[string]string{"slug": "acme", "name": "Acme"}).Must(t, 200).Text("organization", "id")
	joe = web.Login(t, "joe", "password-of-joe")
	id := web.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	see := func(kind, token string, headers ...string) (status int, seen map[string]string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+m.Addr().String()+"/Typed_"+kind+"/Seer.See", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		var out SeerResponse
		if rsp.StatusCode == 200 {
			if err := json.NewDecoder(rsp.Body).Decode(&out); err != nil {
				t.Fatal(err)
			}
		}
		return rsp.StatusCode, out.Metadata
	}
	forged := []string{
		"X-User-Id", "admin", "x-user-slug", "admin", "X-ROLES", "user-svc:admin", "X_User_Id", "admin", "X_Roles", "user-svc:admin",
		"X-Scopes", "all", "X-Client-Ip", "1.1.1.1", "Micro-User", "admin", "Mesh-Caller", "admin", "Remote", "1.1.1.1", "Local", "x", "Timeout", "1",
		"Accept-Language", "de", "Idempotency-Key", "k1", "X-Tenant", "a", "X-Tenant", "b", "X-Other", "x", "Cookie", "session=1", "Tracestate", "v=1",
	}
	for kind := range guestKinds {
		status, seen := see(kind, joe, forged...)
		if status != 200 {
			t.Fatalf("%s: %d", kind, status)
		}
		for name, want := range map[string]string{
			"x-user-id": id, "x-user-slug": "joe", "x-org-id": org, "accept-language": "de", "idempotency-key": "k1", "x-tenant": "a, b", "tracestate": "v=1",
			"x-other": "", "cookie": "", "x-scopes": "", "micro-user": "", "mesh-caller": "", "x_user_id": "", "x_roles": "", "x-client-ip": "127.0.0.1",
			"authorization": "Bearer " + joe,
		} {
			if seen[name] != want {
				t.Errorf("%s: %s is %q, want %q", kind, name, seen[name], want)
			}
		}
		if roles := seen["x-roles"]; !strings.Contains(roles, "user-svc:user") || strings.Contains(roles, "user-svc:admin,") || !strings.Contains(roles, org) {
			t.Errorf("%s: the roles are %s", kind, roles)
		}
		if seen["traceparent"] == "" || seen["x-request-id"] == "" || seen["remote"] == "1.1.1.1" || seen["timeout"] == "1" {
			t.Errorf("%s: the metadata is %v", kind, seen)
		}
		_, seen = see(kind, "", append(forged, "X-Org-Id", org)...)
		for _, name := range []string{"x-user-id", "x-user-slug", "x-org-id", "x-roles", "authorization"} {
			if seen[name] != "" {
				t.Errorf("%s: without a token %s is %q", kind, name, seen[name])
			}
		}
		if status, _ := see(kind, joe, "X-Org-Id", "another"); status != 403 {
			t.Errorf("%s: for an organization of others: %d", kind, status)
		}
		if status, seen := see(kind, joe, "X-Org-Id", org); status != 200 || seen["x-org-id"] != org {
			t.Errorf("%s: for the own organization: %d %v", kind, status, seen)
		}
	}
}

// TestRoutesToGuests has routes to methods that can't be called, and routes whose paths look like those of methods.
func TestRoutesToGuests(t *testing.T) {
	t.Parallel()
	_, web, _ := calledGuests(t, guestRoutes)
	for kind := range guestKinds {
		for path, want := range map[string]string{
			"/watch":  "Feed.Watch of Typed_" + kind + " is no method with one request and one answer",
			"/nosuch": `has no method "Feed.Nosuch": it has Feed.Get`,
		} {
			began := time.Now()
			a := web.Do(t, "GET", "/"+kind+path, "", nil)
			if a.Status != 404 || !strings.Contains(a.Text("error"), want) || time.Since(began) > 5*time.Second {
				t.Errorf("%s%s: %d %s after %v", kind, path, a.Status, a.Body, time.Since(began))
			}
		}
		slug := "/Typed_" + kind
		if a := web.Do(t, "GET", slug+"/7", "", nil); !strings.Contains(a.Text("json"), `"id":7`) {
			t.Errorf("%s: the route: %d %s", kind, a.Status, a.Body)
		}
		web.Do(t, "POST", slug+"/Feed.Get", "", `{}`).Must(t, 200)
		web.Do(t, "OPTIONS", slug+"/Feed.Get", "", nil).Must(t, 200)
		web.Do(t, "POST", slug+"/7", "", `{}`).Must(t, 405)
		web.Do(t, "PUT", slug+"/Feed.Get", "", `{}`).Must(t, 405)
	}
}
