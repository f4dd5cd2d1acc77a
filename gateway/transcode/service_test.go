package transcode_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/transcode"
	"micromesh/pkg/schema"
	"micromesh/pkg/schema/schematest"
)

// contract is a service with one method with these options.
func contract(options string) string {
	return `message Item { string id = 1; int32 n = 2; } service Shop { rpc Get(Item) returns (Item) { ` + options + ` } }`
}

// many is a service with so many methods, each of which takes so many fields.
func many(methods, fields int) string {
	var s strings.Builder
	s.WriteString("message M {\n")
	for i := range fields {
		fmt.Fprintf(&s, "string f%d = %d;\n", i, i+1)
	}
	s.WriteString("}\nservice Shop {\n")
	for i := range methods {
		fmt.Fprintf(&s, "rpc A%d(M) returns (M) { option (google.api.http) = {get: \"/shop-svc/%d\"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }\n", i, i)
	}
	return s.String() + "}"
}

// enumerated is a service whose answer has so many fields of an enumeration of so many values.
func enumerated(fields, values int) string {
	var s strings.Builder
	s.WriteString("message In {}\nmessage M {\n")
	for i := range fields {
		fmt.Fprintf(&s, "E f%d = %d;\n", i, i+1)
	}
	s.WriteString("}\nenum E {\n")
	for i := range values {
		fmt.Fprintf(&s, "V%d = %d;\n", i, i)
	}
	return s.String() + `}
		service Shop { rpc Get(In) returns (M) { option (google.api.http) = {get: "/shop-svc/x"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`
}

func TestServicesStayWithinTheirSlug(t *testing.T) {
	const public, route = `option (mesh.v1.access) = {caller: CALLER_PUBLIC};`, `option (google.api.http) = {get: "/shop-svc/item"};`
	rows := []struct {
		name, source string
		want         string // empty is accepted
	}{
		{"its own", contract(route + public), ""},
		{"its own permission", contract(route + `option (mesh.v1.access) = {permission: "shop-svc:item:get"};`), ""},
		{"its own role", contract(route + `option (mesh.v1.access) = {role: "shop-svc:clerk"};`), ""},
		{"the admins' role", contract(route + `option (mesh.v1.access) = {role: "user-svc:admin"};`), ""},
		{"a stream without a binding", `message M {} service Shop { rpc Watch(M) returns (stream M); rpc Get(M) returns (M) { ` + route + public + ` } }`, ""},
		{"another's path", contract(`option (google.api.http) = {get: "/user-svc/login"};` + public), "must begin with /shop-svc"},
		{"another's path that begins the same", contract(`option (google.api.http) = {get: "/shop-svc-2/item"};` + public), "must begin with /shop-svc"},
		{"a second binding at another's path", contract(`option (google.api.http) = {get: "/shop-svc/item" additional_bindings {get: "/user-svc/x"}};` + public), "must begin with /shop-svc"},
		{"another's permission", contract(route + `option (mesh.v1.access) = {permission: "user-svc:user:edit"};`), "user-svc:user:edit must begin with shop-svc:"},
		{"a permission that begins the same", contract(route + `option (mesh.v1.access) = {permission: "shop-svc-2:item:get"};`), "must begin with shop-svc:"},
		{"another's role", contract(route + `option (mesh.v1.access) = {role: "other-svc:clerk"};`), "other-svc:clerk must begin with shop-svc:"},
		{"no access rule", contract(route), "mesh.v1.access"},
		{"an access rule that says nothing", contract(route + `option (mesh.v1.access) = {};`), "mesh.v1.access"},
		{"callers of an unknown class", contract(route + `option (mesh.v1.access) = {caller: 7};`), "class of callers"},
		{"no binding", contract(public), "google.api.http"},
		{"one method of two without a binding", `message M {} service Shop { rpc A(M) returns (M) { ` + route + public + ` } rpc B(M) returns (M) { ` + public + ` } }`, "Shop.B: add `option (google.api.http)`"},
		{"no method", `message M {}`, "no method has a binding"},
		{"clashing routes", `message M {} service Shop { rpc A(M) returns (M) { ` + route + public + ` } rpc B(M) returns (M) { ` + route + public + ` } }`, "is bound to shop.v1.Shop.A already"},
		{"a stream with a binding", `message M {} service Shop { rpc Get(M) returns (stream M) { ` + route + public + ` } }`, "streams"},
		{"too many bindings", many(1001, 1), "more than 1000 bindings"},
		{"too many fields in too many bindings", many(100, 2000), "more than 16777216 bytes"},
		{"an enumeration that is named too often", enumerated(1000, 1000), "more than 16777216 bytes"},
		{"an enumeration that is named often", enumerated(100, 100), ""},
		{"many bindings and fields", many(100, 100), ""},
		{"a success that is none", contract(route + public + `option (mesh.v1.success) = 500;`), "success is 500"},
		{"a status that is no status", contract(route + public + `option (mesh.v1.success) = -7;`), "success is -7"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			b, err := transcode.NewService("shop-svc", schematest.File(t, "shop.v1", r.source))
			if r.want == "" {
				if err != nil || !b.Has("shop-svc") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got %v, want %q", err, r.want)
			}
		})
	}
}

func TestMethodsOfTwoPackagesWithOneNameAreRefused(t *testing.T) {
	source := `message M {} service Shop { rpc Get(M) returns (M) { option (google.api.http) = {get: "/shop-svc/PKG"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`
	a, b := schematest.File(t, "a", strings.Replace(source, "PKG", "a", 1)), schematest.File(t, "b", strings.Replace(source, "PKG", "b", 1))
	if _, err := transcode.NewService("shop-svc", a, b); err == nil || !strings.Contains(err.Error(), "Shop.Get") {
		t.Errorf("got %v", err)
	}
}

const shop = `
	import "google/protobuf/timestamp.proto";
	// Item is what is sold, <b>here</b>.
	message Item {
		string id = 1 [(mesh.v1.rules) = {required: true, max_bytes: 20}];
		google.protobuf.Timestamp made = 2;
		int64 grams = 3;
		Colour colour = 4;
		repeated Item parts = 5;
		map<string, Error> errors = 6;
		bytes picture = 7;
	}
	message Error { string text = 1; }
	message Order { message Item { string id = 1; } repeated Item lines = 1; }
	enum Colour { NONE = 0; RED = 1; }
	service Shop {
		// Save "saves" <script>alert(1)</script>.
		rpc Save(Item) returns (Order) {
			option (google.api.http) = {put: "/SLUG/item/{id}" body: "*" additional_bindings {post: "/SLUG/item" body: "*"}};
			option (mesh.v1.access) = {permission: "SLUG:item:save"};
		}
		rpc List(Item) returns (Item) {
			option (google.api.http) = {get: "/SLUG/items"};
			option (mesh.v1.access) = {caller: CALLER_PUBLIC};
		}
	}`

// shops are the mesh's own services and two others, each with the same names.
func shops(t *testing.T) *transcode.Bindings {
	t.Helper()
	b := builtIn(t)
	for _, slug := range []string{"shop-svc", "kiosk-svc"} {
		one, err := transcode.NewService(slug, schematest.File(t, "shop.v1", strings.ReplaceAll(shop, "SLUG", slug)))
		if err != nil {
			t.Fatal(err)
		}
		b = b.With(one)
	}
	return b
}

func TestNamesOfServicesDontClash(t *testing.T) {
	raw, err := shops(t).OpenAPI("1")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	const schema, body = "components|schemas|", "content|application/json|schema|$ref"
	for path, want := range map[string]any{
		"paths|/shop-svc/item/{id}|put|requestBody|" + body:        "#/components/schemas/shop-svc.shop.v1.Item",
		"paths|/shop-svc/item/{id}|put|responses|200|" + body:      "#/components/schemas/shop-svc.Order",
		"paths|/kiosk-svc/item/{id}|put|responses|200|" + body:     "#/components/schemas/kiosk-svc.Order",
		"paths|/shop-svc/item/{id}|put|operationId":                "shop-svc.Shop.save2",
		"paths|/shop-svc/item|post|operationId":                    "shop-svc.Shop.save",
		"paths|/shop-svc/item|post|x-mesh-method":                  "Shop.Save",
		"paths|/shop-svc/item|post|x-mesh-access":                  "permission shop-svc:item:save",
		"paths|/shop-svc/items|get|x-mesh-access":                  "anyone",
		"paths|/user-svc/login|post|operationId":                   "login",
		"paths|/user-svc/login|post|requestBody|" + body:           "#/components/schemas/LoginRequest",
		"paths|/user-svc/login|post|responses|default|" + body:     "#/components/schemas/Error",
		schema + "Error|properties|code|type":                      "string",
		schema + "shop-svc.Error|properties|text|type":             "string",
		schema + "shop-svc.shop.v1.Order.Item|required":            nil,
		schema + "shop-svc.shop.v1.Item|required|id":               "id",
		schema + "shop-svc.shop.v1.Item|description":               "Item is what is sold, <b>here</b>.",
		schema + "shop-svc.shop.v1.Item|properties|made|format":    "date-time",
		schema + "shop-svc.shop.v1.Item|properties|grams|format":   "int64",
		schema + "shop-svc.shop.v1.Item|properties|colour|enum":    []any{"NONE", "RED"},
		schema + "shop-svc.shop.v1.Item|properties|picture|format": "byte",
		schema + "Item": nil,
	} {
		if diff := cmp.Diff(want, at(doc, strings.Split(path, "|"))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, ref := range regexp.MustCompile(`"#/components/schemas/([^"]*)"`).FindAllStringSubmatch(string(raw), -1) {
		if at(doc, []string{"components", "schemas", ref[1]}) == nil {
			t.Errorf("the schema %s is missing", ref[1])
		}
	}
	ids := map[string]bool{}
	for _, id := range regexp.MustCompile(`"operationId": "(shop-svc[^"]*)"`).FindAllStringSubmatch(string(raw), -1) {
		if ids[id[1]] {
			t.Errorf("two operations are called %s", id[1])
		}
		ids[id[1]] = true
	}
}

func TestDocsShowWhatServicesSay(t *testing.T) {
	page, err := shops(t).Docs("1.2.3", map[string]bool{"kiosk-svc": true})
	if err != nil {
		t.Fatal(err)
	}
	html := string(page)
	for _, want := range []string{
		`<section id="user-svc">`, `<section id="shop-svc">`, "/shop-svc/item/{id}", "Shop.Save", "permission shop-svc:item:save", "anyone",
		"Save &#34;saves&#34; &lt;script&gt;alert(1)&lt;/script&gt;.", "Item is what is sold, &lt;b&gt;here&lt;/b&gt;.",
		"in the path", "at most 20 characters", "list of ", "map of ", "time (RFC 3339)", "<code>RED</code>", "1.2.3",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, evil := range []string{"<script", "<b>here", " style=", "http://", "https://", "ZgotmplZ"} {
		if strings.Contains(html, evil) {
			t.Errorf("the page holds %s", evil)
		}
	}
	if n := strings.Count(html, "not running"); n != 2 { // in the list, and above its methods
		t.Errorf("%d times something is not running", n)
	}
	for _, id := range regexp.MustCompile(` href="#([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if !strings.Contains(html, ` id="`+strings.ReplaceAll(id[1], "%2f", "/")+`"`) {
			t.Errorf("a link leads to %s, which is not there", id[1])
		}
	}
}

// TestDocsPolicyLetsItsStyleIn hashes what a browser would.
func TestDocsPolicyLetsItsStyleIn(t *testing.T) {
	page, err := builtIn(t).Docs("1", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	policy := transcode.DocsPolicy()
	if !strings.Contains(policy, "'sha256-"+sha(style)+"'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy is %s", policy)
	}
}

func sha(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// FuzzService takes what no compiler has made through all that a gateway does with it.
func FuzzService(f *testing.F) {
	s, err := schema.Pack(schematest.File(f, "shop.v1", strings.ReplaceAll(shop, "SLUG", "shop-svc")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Set)
	f.Fuzz(func(t *testing.T, set []byte) {
		files, err := schema.Open(schema.Schema{Hash: schema.Hash(set), Set: set})
		if err != nil {
			return
		}
		b, err := transcode.NewService("shop-svc", files...)
		if err != nil {
			return
		}
		raw, err := b.OpenAPI("1")
		if err != nil || !json.Valid(raw) {
			t.Errorf("its description is no JSON: %v", err)
		}
		if _, err := b.Docs("1", nil); err != nil {
			t.Error(err)
		}
		for _, n := range b.All() {
			if out, err := n.Message([]byte("{}"), slices.Repeat([]string{"x"}, strings.Count(n.Pattern, "{")), "a=b"); err == nil && !json.Valid(out) {
				t.Errorf("%q is no JSON", out)
			}
		}
	})
}
