package transcode_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/transcode"
	"micromesh/pkg/errs"
	"micromesh/pkg/schema/schematest"
)

// grown is a service whose messages have got more fields: within lists, maps and themselves.
const grown = `
message Item {
  string id = 1;
  string secret = 2 [(mesh.v1.since) = 2];
  Item part = 3;
  repeated Item parts = 4;
  map<string, Item> by_name = 5;
  Plain plain = 6;
  google.protobuf.Struct any = 7;
  map<string, string> secrets = 8;
  repeated Plain new_list = 9 [(mesh.v1.since) = 2];
}
message Plain { string id = 1; Plain next = 2; }
service Shop {
  rpc Get(Item) returns (Item) { option (google.api.http) = {get: "/shop-svc/item"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
  rpc Put(Item) returns (Item) { option (google.api.http) = {put: "/shop-svc/item" body: "*"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
  rpc Bare(Plain) returns (Plain) { option (google.api.http) = {get: "/shop-svc/plain"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
}`

func grownShop(t testing.TB) *transcode.Bindings {
	t.Helper()
	head := schematest.Head("shop.v1") + `import "google/protobuf/struct.proto";` + "\n"
	b, err := transcode.NewService("shop-svc", schematest.Compile(t, "shop/v1/shop.proto", map[string]string{"shop/v1/shop.proto": head + grown}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswersOfVersion1LackLaterFields(t *testing.T) {
	b := grownShop(t)
	get := b.Endpoint("shop-svc", "Shop.Get")
	if plain := b.Endpoint("shop-svc", "Shop.Bare"); plain.Differs() || !get.Differs() {
		t.Errorf("the plain answer differs: %v; the grown one: %v", plain.Differs(), get.Differs())
	}
	deep := strings.Repeat(`{"part":`, 30) + `{"secret":"x","id":"1"}` + strings.Repeat(`}`, 30)
	for name, r := range map[string]struct{ in, want string }{
		"first":          {`{"secret":"x","id":"1"}`, `{"id":"1"}`},
		"in between":     {`{"id":"1", "secret" : "a\"}b\\" , "secrets":{"secret":"y"}}`, `{"id":"1","secrets":{"secret":"y"}}`},
		"alone":          {` { "secret":"x" } `, `{}`},
		"in a message":   {`{"part":{"secret":"x","id":"2"}}`, `{"part":{"id":"2"}}`},
		"in a list":      {`{"parts":[{"secret":"x"},{"id":"2","secret":"x"},{}]}`, `{"parts":[{},{"id":"2"},{}]}`},
		"in a map":       {`{"byName":{"secret":{"secret":"x"},"b":{"id":"1"}}}`, `{"byName":{"secret":{},"b":{"id":"1"}}}`},
		"a list":         {`{"newList":[{"id":"1"},{"next":{}}],"id":"1"}`, `{"id":"1"}`},
		"a free object":  {`{"any":{"secret":[1,{"secret":null}]}}`, `{"any":{"secret":[1,{"secret":null}]}}`},
		"another type":   {`{"plain":{"id":"1","next":{"id":"2"}}}`, `{"plain":{"id":"1","next":{"id":"2"}}}`},
		"nulls":          {`{"part":null,"parts":null,"byName":null,"secret":null}`, `{"part":null,"parts":null,"byName":null}`},
		"an escape":      {`{"s\u0065cret":"x","id":"1"}`, `{"id":"1"}`},
		"deep":           {deep, strings.Replace(deep, `"secret":"x",`, "", 1)},
		"numbers":        {`{"parts":[1,-2.5e3,true]}`, `{"parts":[1,-2.5e3,true]}`},
		"no JSON":        {`{"secret":"x",`, `{"secret":"x",`},
		"an empty text":  {``, ``},
		"only an opener": {`[`, `[`},
	} {
		if got := string(get.Older([]byte(r.in))); got != r.want && strings.TrimSpace(got) != r.want {
			t.Errorf("%s: %s becomes %s, not %s", name, r.in, got, r.want)
		}
	}
}

func FuzzOlder(f *testing.F) {
	get := grownShop(f).Endpoint("shop-svc", "Shop.Get")
	f.Add([]byte(`{"id":"1","part":{"secret":"x"},"byName":{"a":{"secret":"\\"}}}`))
	f.Add([]byte("{\"a\\"))
	f.Add([]byte(`{"parts":[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = get.Unknown(b, string(b))
		got := get.Older(b)
		var before, after map[string]any
		if json.Unmarshal(b, &before) != nil {
			return
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%s becomes %s: %v", b, got, err)
		}
		delete(before, "secret")
		delete(before, "newList")
		if len(before) != len(after) {
			t.Fatalf("%s becomes %s", b, got)
		}
	})
}

func TestRequestsOfVersion2HaveNoUnknownFields(t *testing.T) {
	b := grownShop(t)
	put := b.Endpoint("shop-svc", "Shop.Put")
	for name, r := range map[string]struct {
		body string
		want []errs.Detail
	}{
		"none":          {``, nil},
		"known":         {`{"id":"1","byName":{"x":{"parts":[{"by_name":{}}]}},"any":{"x":1},"secret":"s","secrets":{"x":"y"}}`, nil},
		"misspelled":    {`{"idd":"1"}`, []errs.Detail{{Field: "idd", Message: "is no field of Item: did you mean id?"}}},
		"the beginning": {`{"sec":1,"newL":[]}`, []errs.Detail{{Field: "sec", Message: "is no field of Item: did you mean secret?"}, {Field: "newL", Message: "is no field of Item: did you mean newList?"}}},
		"in a list":     {`{"parts":[{},{"plain":{"nxt":{}}}]}`, []errs.Detail{{Field: "parts[1].plain.nxt", Message: "is no field of Plain: did you mean next?"}}},
		"in a map":      {`{"byName":{"a b":{"pat":1}}}`, []errs.Detail{{Field: `byName["a b"].pat`, Message: "is no field of Item: did you mean part?"}}},
		"nothing like":  {`{"plain":{"weather":1}}`, []errs.Detail{{Field: "plain.weather", Message: "is no field of Plain: it has id, next"}}},
		"a wild name":   {`{"plain":{"a\nb\u202e":1}}`, []errs.Detail{{Field: `plain."a\nb\u202e"`, Message: "is no field of Plain: it has id, next"}}},
		"no JSON":       {`{"id":`, nil},
	} {
		var got []errs.Detail
		if err := put.Unknown([]byte(r.body), "also=ignored"); err != nil {
			e := errs.From(err)
			for _, d := range e.Details {
				if d.Rule != "unknown" || e.Kind != errs.Invalid || !strings.Contains(e.Message, d.Field+" "+d.Message) {
					t.Errorf("%s: error is %v", name, err)
				}
				d.Rule = ""
				got = append(got, d)
			}
		}
		if diff := cmp.Diff(r.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	many := []byte(`{"x0":1`)
	for i := range 1000 {
		many = fmt.Appendf(many, `,"x%d%s":1`, i, bytes.Repeat([]byte("y"), 100))
	}
	if e := errs.From(put.Unknown(append(many, '}'), "")); e == nil || len(e.Details) != 20 || len(e.Message) > 5000 {
		t.Errorf("1000 unknown fields: %.200v", e)
	}
}

func TestQueriesOfVersion2HaveNoUnknownParameters(t *testing.T) {
	list := builtIn(t).Endpoint("registry-svc", "RegistryService.ListInstances")
	for query, want := range map[string]string{
		"":                              "",
		"slug=a&deployment_id=b":        "",
		"deploymentID=b":                "deploymentID is no field of ListInstancesRequest: did you mean deploymentId?",
		"slog=a":                        "slog is no field of ListInstancesRequest: did you mean slug?",
		"%zz":                           "",
		"slug=a&" + "nothing%20like=it": `"nothing like" is no field of ListInstancesRequest: it has scheme, ip, deploymentId, host, id, slug`,
	} {
		got := ""
		if err := list.Unknown([]byte(`{"body":"is not read"}`), query); err != nil {
			got = errs.From(err).Message
		}
		if got != want {
			t.Errorf("%s: %q, not %q", query, got, want)
		}
	}
	revoke := builtIn(t).Endpoint("user-svc", "UserService.RevokeTokens")
	err := revoke.UnknownIn([]byte(`{"all":true}`), "dev=x")
	if got := errs.From(err); got == nil || got.Message != "all is no field of RevokeTokensRequest: did you mean allTokens?; dev is no field of RevokeTokensRequest: did you mean device?" {
		t.Errorf("error is %v", err)
	}
	if echo := builtIn(t).Endpoint("registry-svc", "RegistryService.EchoPost"); echo.Unknown([]byte(`{"x":1}`), "y=1") != nil {
		t.Error("the echo does not take what comes")
	}
}

func TestDescriptionNamesTheVersionOfFields(t *testing.T) {
	b, err := builtIn(t).OpenAPI("test")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Since int `json:"x-mesh-since"`
				}
			}
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	var got []string
	for name, s := range d.Components.Schemas {
		for field, p := range s.Properties {
			if p.Since == 2 {
				got = append(got, name+"."+field)
			}
		}
	}
	want := []string{"CreateUserResponse.user", "Instance.generation", "Instance.healthPath", "Instance.metadata", "RegisterInstanceResponse.proofKey", "Token.refreshToken"}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(got))); diff != "" {
		t.Error(diff)
	}
}
