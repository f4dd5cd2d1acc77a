package transcode_test

import (
	"os"
	"strings"
	"testing"

	"micromesh/gateway/transcode"
	"micromesh/pkg/errs"
	"micromesh/pkg/schema/schematest"
)

// mapped is a row of the table in docs/http-mapping.md, as it is tried: a binding that is refused, or requests that are.
type mapped struct {
	rule    string            // binding of a service that is to be compiled; empty for the services of the other tests
	refused string            // what its mistake says; empty if it is right
	query   map[string]string // messages by queries; beginning with "400 " they are errors
	body    map[string]string
	path    map[string]string // of GET
	strict  map[string]string // queries of callers of version 2
}

const option = `option (google.api.http) = `

// rows are those of the table, by their first cells.
var rows = map[string]mapped{
	"`get`, `put`, `post`, `delete`, `patch`": {rule: option + `{post: "/shop-svc/x" additional_bindings {put: "/shop-svc/x"} additional_bindings {get: "/shop-svc/x"} additional_bindings {delete: "/shop-svc/x"} additional_bindings {patch: "/shop-svc/x"}};`},
	"`custom`":              {rule: option + `{custom {kind: "HEAD" path: "/shop-svc/x"}};`, refused: "custom method"},
	"`additional_bindings`": {rule: option + `{get: "/shop-svc/x" additional_bindings {get: "/shop-svc/y"}};`},
	"`additional_bindings` within `additional_bindings`": {rule: option + `{get: "/shop-svc/x" additional_bindings {get: "/shop-svc/y" additional_bindings {get: "/shop-svc/z"}}};`, refused: "nests"},
	"`selector`":                     {rule: option + `{selector: "x" get: "/shop-svc/x"};`, refused: "selector"},
	"a method without a binding":     {rule: ``, refused: "add `option (google.api.http)`"},
	"a stream with a binding":        {rule: "stream", refused: "streams"},
	"`body: \"*\"`":                  {rule: option + `{post: "/shop-svc/x" body: "*"};`, body: map[string]string{`{"small":7}`: `{"small":7}`}},
	"`body: \"field\"`":              {rule: option + `{post: "/shop-svc/x" body: "id"};`, refused: `body "id"`},
	"`body` with `get`":              {rule: option + `{get: "/shop-svc/x" body: "*"};`, refused: "body can't be with get"},
	"`body` with `delete`":           {rule: option + `{delete: "/shop-svc/x" body: "*"};`},
	"no `body`":                      {query: map[string]string{"small=7": `{"small":7}`}, path: map[string]string{"/shop-svc/m/7": `{"id":"7"}`}},
	"the query beside `body: \"*\"`": {body: map[string]string{"": "{}"}},
	"`response_body`":                {rule: option + `{get: "/shop-svc/x" response_body: "id"};`, refused: "response_body"},
	"`google.api.HttpBody`":          {rule: "google.api.HttpBody", refused: "google.api.HttpBody"},
	"a request that is `google.protobuf.Value` or another whose JSON is no object": {rule: "google.protobuf.Value", refused: "google.protobuf.Value"},

	"plain text, `/items`":                         {rule: option + `{get: "/{id}/x"};`, refused: "slug"},
	"a field, `{id}`":                              {path: map[string]string{"/shop-svc/since/2026-01-02T15:04:05Z/LARGE": `{"kind":"LARGE","since":"2026-01-02T15:04:05Z"}`}},
	"a field of a field, `{item.id}`":              {rule: option + `{get: "/shop-svc/{item.id}"};`, refused: "a field of a field"},
	"a pattern, `{id=items/*}`, `*`, `**`":         {rule: option + `{get: "/shop-svc/{id=items/*}"};`, refused: "a pattern behind ="},
	"a verb behind text, `/items:search`":          {rule: option + `{get: "/shop-svc/items:search"};`},
	"a verb behind a field, `/items/{id}:archive`": {rule: option + `{get: "/shop-svc/items/{id}:archive"};`, refused: "the verb :archive"},
	"percent-encoding in a field":                  {path: map[string]string{"/shop-svc/m/a%2Fb%2525": `{"id":"a/b%25"}`}},
	"a field of the path in the body too":          {body: map[string]string{`{"id":"body"}`: `{"id":"path"}`}},

	"a primitive field, `?name=x`":                   {query: map[string]string{"id=x": `{"id":"x"}`}},
	"a repeated primitive or enum, `?tag=a&tag=b`":   {query: map[string]string{"kinds=SMALL&kinds=LARGE": `{"kinds":["SMALL","LARGE"]}`}},
	"a field within messages, `?filter.owner=me`":    {query: map[string]string{"filter.owner=me": `{"filter":{"owner":"me"}}`}},
	"`?filter.maxPrice=3` and `?filter.max_price=3`": {query: map[string]string{"filter.maxPrice=3": `{"filter":{"maxPrice":3}}`, "filter.max_price=3": `{"filter":{"maxPrice":3}}`, "filter.max_price=3&filter.maxPrice=3": "400 filter.maxPrice"}},
	"an enum by name or number":                      {query: map[string]string{"kind=SMALL": `{"kind":"SMALL"}`, "kind=1": `{"kind":1}`}},
	"an enum's value that there is not":              {query: map[string]string{"kind=SMAL": "400 kind is SMAL, which is no value of Kind: did you mean SMALL?"}, body: map[string]string{`{"kind":"SMAL"}`: "400 kind is SMAL, which is no value of Kind: did you mean SMALL?"}},
	"a bool":                                         {query: map[string]string{"maybe=true": `{"maybe":true}`, "maybe=0": `{"maybe":false}`, "maybe=t": `{"maybe":true}`, "maybe=yes": "400 maybe"}},
	"a number out of its type's range":               {query: map[string]string{"small=2147483648": "400 small"}},
	"`uint64` above 2^63":                            {query: map[string]string{"big=18446744073709551615": `{"big":18446744073709551615}`}},
	"`NaN` and infinity":                             {query: map[string]string{"ratio=NaN": "400 ratio", "single=Infinity": "400 single"}},
	"bytes":                                          {query: map[string]string{"data=_-8": `{"data":"_-8"}`, "data=%2B%2F8=": `{"data":"+/8="}`}},
	"wrappers such as `BoolValue` and `Int64Value`":  {query: map[string]string{"flag=true": `{"flag":true}`, "count=7": `{"count":7}`}},
	"`Timestamp` and `Duration`":                     {query: map[string]string{"since=2026-01-02T15:04:05Z": `{"since":"2026-01-02T15:04:05Z"}`, "wait=1.5s": `{"wait":"1.5s"}`}},
	"`FieldMask`":                                    {query: map[string]string{"mask=first_name": `{"mask":"firstName"}`, "mask=firstName": `{"mask":"firstName"}`}},
	"`Struct`, `Value`, `ListValue`, `Any`":          {query: map[string]string{"free=x": "400 free", "any_value=1": "400 any_value", "values=1": "400 values", "any=x": "400 any"}},
	"a map, `?labels[a]=1`":                          {query: map[string]string{"labels[a]=1": "400 labels[a]"}},
	"a repeated message":                             {query: map[string]string{"list=x": "400 list"}},
	"a message as a whole, `?filter=x`":              {query: map[string]string{"filter=x": "400 filter is a message: name the fields within, such as filter.owner"}},
	"two fields of a oneof":                          {query: map[string]string{"left=a&right=1": "400 right"}},
	"a singular field twice":                         {query: map[string]string{"id=a&id=b": "400 id"}},
	"a parameter that names no field":                {query: map[string]string{"smal=1": "{}"}, strict: map[string]string{"smal=1": "400 smal is no field of M: did you mean small?"}},
	"a member that names no field":                   {body: map[string]string{`{"smal":1}`: `{"smal":1}`}}, // a service discards it
	"a member twice, also by both of its names":      {body: map[string]string{`{"small":1,"small":2}`: "400 small", `{"anyValue":1,"any_value":1}`: "400 anyValue", `{"free":{"a":1,"a":2}}`: "400 free.a"}},
}

// TestTheTableOfTheMappingIsTrue tries each row of the table in the docs, and finds rows that nothing tries.
func TestTheTableOfTheMappingIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	b := mappingShop(t)
	seen := map[string]bool{}
	for _, line := range strings.Split(string(page), "\n") {
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.HasSuffix(cells[2], "here |") {
			continue
		}
		name := strings.TrimPrefix(cells[0], "| ")
		row, ok := rows[name]
		if !ok {
			t.Errorf("nothing tries the row %q", name)
			continue
		}
		seen[name] = true
		t.Run(name, func(t *testing.T) { row.try(t, b) })
	}
	for name := range rows {
		if !seen[name] {
			t.Errorf("the table lacks %q", name)
		}
	}
}

func (r mapped) try(t *testing.T, b *transcode.Bindings) {
	if r.rule != "" || r.refused != "" {
		r.compile(t)
	}
	get, _, _ := b.Match("shop-svc", "GET", "/shop-svc/m")
	put := b.Endpoint("shop-svc", "Shop.Put")
	for query, want := range r.query {
		got, err := get.Message(nil, nil, query)
		same(t, query, got, err, want)
	}
	for query, want := range r.strict {
		same(t, query, nil, get.Unknown(nil, query), want)
	}
	for body, want := range r.body {
		params := []string(nil)
		if strings.Contains(body, `"id"`) {
			params = []string{"path"}
		}
		got, err := put.Message([]byte(body), params, "small=1")
		same(t, body, got, err, want)
	}
	for path, want := range r.path {
		n, params, _ := b.Match("shop-svc", "GET", path)
		got, err := n.Message(nil, params, "")
		same(t, path, got, err, want)
	}
}

// compile compiles a service whose method has the binding.
func (r mapped) compile(t *testing.T) {
	method := `rpc Get(M) returns (M) { ` + r.rule + ` option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }`
	switch {
	case r.rule == "stream":
		method = `rpc Get(M) returns (stream M) { option (google.api.http) = {get: "/shop-svc/x"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }`
	case strings.HasPrefix(r.rule, "google."):
		method = `rpc Get(` + r.rule + `) returns (M) { option (google.api.http) = {post: "/shop-svc/x" body: "*"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }`
	}
	_, err := transcode.NewService("shop-svc", schematest.File(t, "shop.v1", `import "google/api/httpbody.proto"; import "google/protobuf/struct.proto";
		message M { string id = 1; M item = 2; } service Shop { `+method+` }`))
	if r.refused == "" && err != nil {
		t.Errorf("it is refused: %v", err)
	}
	if r.refused != "" && (err == nil || !strings.Contains(err.Error(), r.refused)) {
		t.Errorf("got %v, want %s", err, r.refused)
	}
}

func same(t *testing.T, request string, got []byte, err error, want string) {
	t.Helper()
	message, refused := strings.CutPrefix(want, "400 ")
	switch {
	case refused && (!errs.Is(err, errs.Invalid) || !strings.HasPrefix(errs.From(err).Message, message)):
		t.Errorf("%s: %s, %v, want an error %s", request, got, err, message)
	case !refused && (err != nil || string(got) != want):
		t.Errorf("%s: %s, %v, want %s", request, got, err, want)
	}
}
