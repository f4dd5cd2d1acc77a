package cli_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"micromesh/internal/meshtest"
	"micromesh/pkg/schema/schematest"
)

// Account is the handler of a service that the command line was never built with.
type Account struct{}

// AccountMessage is what it takes and gives.
type AccountMessage struct {
	ID   string   `json:"id"`
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"`
	Who  struct {
		FirstName string `json:"firstName,omitempty"`
	} `json:"who,omitzero"`
}

func (Account) Create(_ context.Context, in, out *AccountMessage) error {
	*out = AccountMessage{ID: "acc_1", Name: in.Name}
	return nil
}

func (Account) Get(_ context.Context, in, out *AccountMessage) error {
	*out = AccountMessage{ID: in.ID}
	return nil
}

func (Account) List(_ context.Context, in, out *AccountMessage) error {
	*out = AccountMessage{Name: strings.Join(in.Tags, ",") + in.Who.FirstName}
	return nil
}

const accountProto = `
	message Item {
		string id = 1;
		string name = 2 [(mesh.v1.rules).required = true];
		int64 age = 3;
		Colour colour = 4;
		Item friend = 5;
		repeated Item friends = 6;
	}
	enum Colour { NONE = 0; RED = 1; }
	message Id { string id = 1; }
	message Filter { repeated string tags = 1; bool full_name = 2; Who who = 3; }
	message Who { string first_name = 1; }
	service Account {
		rpc Create(Item) returns (Item) { option (google.api.http) = {post: "/account-svc/accounts" body: "*"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
		rpc Get(Id) returns (Item) { option (google.api.http) = {get: "/account-svc/accounts/{id}"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
		rpc List(Filter) returns (Item) { option (google.api.http) = {get: "/account-svc/accounts"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
	}`

// Kiosk is the handler of services whose contracts have the same name.
type Kiosk struct{ slug string }

// KioskMessage is what it gives.
type KioskMessage struct {
	ID string `json:"id"`
}

func (k Kiosk) Get(_ context.Context, _, out *KioskMessage) error {
	out.ID = k.slug
	return nil
}

const kioskProto = `
	message Item { string id = 1; }
	service Kiosk { rpc Get(Item) returns (Item) { option (google.api.http) = {post: "/SLUG/get" body: "*"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`

// serveOthers runs services beside a mesh until the gateway leads to them.
func serveOthers(t testing.TB, m *meshtest.Mesh) {
	m.Serve(t, "account-svc", schematest.File(t, "account.v1", accountProto), Account{})
	for _, slug := range []string{"kiosk-a", "kiosk-b", "shop"} {
		m.Serve(t, slug, schematest.File(t, "kiosk.v1", strings.ReplaceAll(kioskProto, "SLUG", slug)), Kiosk{slug})
	}
	m.Serve(t, "liar-svc", schematest.File(t, "liar.v1", strings.ReplaceAll(kioskProto, "SLUG", "user-svc")), Kiosk{})
	for _, path := range []string{"/account-svc/accounts", "/kiosk-a/get", "/kiosk-b/get", "/shop/get"} {
		meshtest.Eventually(t, path, func() bool { return m.Do(t, "PUT", path, "", nil).Status == http.StatusMethodNotAllowed })
	}
	admin := m.Admin(t)
	meshtest.Eventually(t, "a refusal", func() bool {
		return strings.Contains(string(m.Do(t, "GET", "/gateway-svc/schemas", admin, nil).Body), "must begin with")
	})
}
