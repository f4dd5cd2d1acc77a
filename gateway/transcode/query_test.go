package transcode_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/gateway/transcode"
	"micromesh/pkg/errs"
	"micromesh/pkg/schema/schematest"
)

// mapping is a service whose request has a field of each kind.
const mapping = `
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Kind { KIND_NONE = 0; SMALL = 1; LARGE = 5; }
message Filter {
  string owner = 1;
  Kind kind = 2;
  repeated string tags = 3;
  Filter inner = 4;
  map<string, string> labels = 5;
  int32 max_price = 6;
}
message M {
  string id = 1;
  Filter filter = 2;
  Kind kind = 3;
  repeated Kind kinds = 4;
  uint64 big = 5;
  int32 small = 6;
  repeated fixed64 bigs = 7;
  google.protobuf.BoolValue flag = 8;
  google.protobuf.Int64Value count = 9;
  google.protobuf.UInt64Value total = 10;
  google.protobuf.StringValue note = 11;
  google.protobuf.BytesValue blob = 12;
  google.protobuf.DoubleValue ratio = 13;
  google.protobuf.Timestamp since = 14;
  google.protobuf.Duration wait = 15;
  google.protobuf.FieldMask mask = 16;
  bytes data = 17;
  map<string, int32> labels = 18;
  map<string, Filter> filters = 19;
  repeated Filter list = 20;
  google.protobuf.Struct free = 21;
  google.protobuf.Value any_value = 22;
  google.protobuf.Any any = 23;
  google.protobuf.ListValue values = 24;
  repeated google.protobuf.Timestamp times = 25;
  map<string, Kind> kinds_by_name = 26;
  oneof choice { string left = 27; int64 right = 28; }
  optional bool maybe = 29;
  float single = 30;
  google.protobuf.Empty nothing = 31;
}
service Shop {
  rpc Get(M) returns (M) { option (google.api.http) = {get: "/shop-svc/m/{id}" additional_bindings {get: "/shop-svc/m"} additional_bindings {get: "/shop-svc/since/{since}/{kind}"}}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
  rpc Put(M) returns (M) { option (google.api.http) = {put: "/shop-svc/m/{id}" body: "*"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; }
}`

func mappingShop(t testing.TB) *transcode.Bindings {
	t.Helper()
	b, err := transcode.NewService("shop-svc", schematest.File(t, "shop.v1", mapping))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestQueriesAreMapped(t *testing.T) {
	get, _, _ := mappingShop(t).Match("shop-svc", "GET", "/shop-svc/m")
	for query, want := range map[string]string{
		"filter.owner=me":                   `{"filter":{"owner":"me"}}`,
		"filter.owner=me&filter.kind=LARGE": `{"filter":{"owner":"me","kind":"LARGE"}}`,
		"filter.tags=a&filter.tags=b":       `{"filter":{"tags":["a","b"]}}`,
		"filter.inner.inner.owner=me":       `{"filter":{"inner":{"inner":{"owner":"me"}}}}`,
		"filter.max_price=3":                `{"filter":{"maxPrice":3}}`,
		"filter.maxPrice=3":                 `{"filter":{"maxPrice":3}}`,
		"kind=SMALL":                        `{"kind":"SMALL"}`,
		"kind=5":                            `{"kind":5}`,
		"kinds=SMALL&kinds=0":               `{"kinds":["SMALL",0]}`,
		"big=18446744073709551615":          `{"big":18446744073709551615}`,
		"bigs=9223372036854775808":          `{"bigs":[9223372036854775808]}`,
		"small=-7":                          `{"small":-7}`,
		"flag=true":                         `{"flag":true}`,
		"count=-9223372036854775808":        `{"count":-9223372036854775808}`,
		"total=18446744073709551615":        `{"total":18446744073709551615}`,
		"note=":                             `{"note":""}`,
		"blob=_-8":                          `{"blob":"_-8"}`,
		"data=aGk%3D":                       `{"data":"aGk="}`,
		"ratio=1.5":                         `{"ratio":1.5}`,
		"single=0.5":                        `{"single":0.5}`,
		"since=2026-01-02T15:04:05%2B02:00": `{"since":"2026-01-02T15:04:05+02:00"}`,
		"times=2026-01-02T15:04:05Z&times=2026-01-02T15:04:06Z": `{"times":["2026-01-02T15:04:05Z","2026-01-02T15:04:06Z"]}`,
		"wait=1.5s":                 `{"wait":"1.5s"}`,
		"mask=name,owner.firstName": `{"mask":"name,owner.firstName"}`,
		"mask=owner.first_name":     `{"mask":"owner.firstName"}`,
		"left=a":                    `{"left":"a"}`,
		"maybe=false":               `{"maybe":false}`,
		"nosuch=1&filter.nosuch=1":  `{}`, // as unknown fields of a body
	} {
		got, err := get.Message(nil, nil, query)
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if diff := cmp.Diff(exactly(t, want), exactly(t, string(got))); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

// exactly decodes JSON with its numbers as they are written.
func exactly(t *testing.T, text string) (v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestQueriesThatCantBeMappedAreRefused(t *testing.T) {
	get, _, _ := mappingShop(t).Match("shop-svc", "GET", "/shop-svc/m")
	for query, want := range map[string]string{
		"kind=SMAL":                            "kind is SMAL, which is no value of Kind: did you mean SMALL?",
		"kind=2":                               "kind is 2, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		"kind=":                                `kind is "", which is no value of Kind: it has KIND_NONE, SMALL, LARGE`,
		"kinds=SMALL&kinds=small":              "kinds is small, which is no value of Kind: did you mean SMALL?",
		"filter.kind=x":                        "filter.kind is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		"filter=x":                             "filter is a message: name the fields within, such as filter.owner",
		"filter.inner=x":                       "filter.inner is a message: name the fields within, such as filter.inner.owner",
		"nothing=":                             "nothing is a message without fields that a query can hold",
		"labels=x":                             "labels is a map, which no query can hold",
		"labels.a=1":                           "labels.a can't be set: labels is a map, which no query can hold",
		"labels[a]=1":                          "labels[a] can't be set: labels is a map, which no query can hold",
		"filter.labels.a=1":                    "filter.labels.a can't be set: labels is a map, which no query can hold",
		"filters.a.owner=x":                    "filters.a.owner can't be set: filters is a map, which no query can hold",
		"list=x":                               "list is a list of messages, which no query can hold",
		"list.owner=x":                         "list.owner can't be set: list is a list of messages, which no query can hold",
		"list[0].owner=x":                      "list[0].owner can't be set: list is a list of messages, which no query can hold",
		"kinds[]=SMALL":                        "kinds[] has brackets: repeat kinds=… for each value",
		"kind[0]=SMALL":                        "kind[0] has brackets, which no query can have: name kind alone",
		"free=x":                               "free is any JSON, which no query can hold",
		"free.x=1":                             "free.x can't be set: free is any JSON, which no query can hold",
		"any_value=x":                          "any_value is any JSON, which no query can hold",
		"any=x":                                "any is any JSON, which no query can hold",
		"values=x":                             "values is any JSON, which no query can hold",
		"small.x=1":                            "small.x names a field of small, which is no message",
		"since.seconds=1":                      "since.seconds names a field of since, which is no message",
		"flag.value=true":                      "flag.value names a field of flag, which is no message",
		"big=18446744073709551616":             "big must be a whole number of 64 bits, without a sign",
		"big=-1":                               "big must be a whole number of 64 bits, without a sign",
		"small=2147483648":                     "small must be a whole number of 32 bits",
		"single=1e300":                         "single must be a number",
		"flag=perhaps":                         "flag must be true or false",
		"count=x":                              "count must be a whole number of 64 bits",
		"data=*":                               "data must be base64",
		"since=2026-01-02":                     "since must be a time such as 2026-01-02T15:04:05Z; a + is %2B in a query",
		"wait=5m":                              "wait must be a duration in seconds such as 1.5s",
		"mask=A_B":                             "mask must be names of fields with commas between, such as name,owner.id",
		"id=a&id=b":                            "id is in the query 2 times: send it once",
		"id=a&id=a":                            "id is in the query 2 times: send it once",
		"filter.owner=a&filter.owner=b":        "filter.owner is in the query 2 times: send it once",
		"flag=true&flag=true":                  "flag is in the query 2 times: send it once",
		"left=a&right=1":                       "right is in the query beside left: only one of the two can be set",
		"any=1&small=x":                        "any is any JSON, which no query can hold",
		"filter.max_price=1&filter.maxPrice=1": "filter.maxPrice is in the query by two names: filter.maxPrice and filter.max_price",
	} {
		_, err := get.Message(nil, nil, query)
		e := errs.From(err)
		if e == nil || e.Kind != errs.Invalid || e.Message != want || len(e.Details) == 0 || !strings.HasPrefix(e.Message, e.Details[0].Field+" ") {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

func TestPathsAreMapped(t *testing.T) {
	b := mappingShop(t)
	n, params, _ := b.Match("shop-svc", "GET", "/shop-svc/since/2026-01-02T15:04:05+02:00/LARGE")
	got, err := n.Message(nil, params, "filter.owner=me")
	if want := `{"filter":{"owner":"me"},"kind":"LARGE","since":"2026-01-02T15:04:05+02:00"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	n, params, _ = b.Match("shop-svc", "GET", "/shop-svc/since/2026-01-02T15:04:05Z/HUGE")
	if _, err := n.Message(nil, params, ""); err == nil || errs.From(err).Details[0].Field != "kind" {
		t.Errorf("an unknown value in the path: %v", err)
	}
}

func TestBodiesAreChecked(t *testing.T) {
	b := mappingShop(t)
	put := b.Endpoint("shop-svc", "Shop.Put")
	for body, want := range map[string]string{
		`{"kind":"SMALL","kinds":["LARGE",1,5.0,null],"kindsByName":{"a":"SMALL"},"filter":{"kind":1},"kind2":"X"}`: "",
		`{"kind":null}`: "",
		`{"free":{"kind":"nosuch"},"anyValue":"x"}`: "",
		`{"kind":"SMAL"}`:                      "kind is SMAL, which is no value of Kind: did you mean SMALL?",
		`{"kind":2}`:                           "kind is 2, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		`{"kind":"1"}`:                         "kind is 1, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		`{"kind":1.5}`:                         "kind is 1.5, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		`{"kinds":["SMALL","x"]}`:              "kinds[1] is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		`{"filter":{"inner":{"kind":"x"}}}`:    "filter.inner.kind is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		`{"list":[{},{"kind":"x"}]}`:           "list[1].kind is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE",
		`{"filters":{"a":{"kind":"x"}}}`:       `filters["a"].kind is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE`,
		`{"kindsByName":{"a":"x"}}`:            `kindsByName["a"] is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE`,
		`{"small":1,"small":1}`:                "small is there twice: send it once",
		`{"small":1,"sm\u0061ll":2}`:           "small is there twice: send it once",
		`{"anyValue":1,"any_value":2}`:         "anyValue is there twice: send it once",
		`{"filter":{"owner":"a","owner":"b"}}`: "filter.owner is there twice: send it once",
		`{"list":[{"owner":"a","owner":"b"}]}`: "list[0].owner is there twice: send it once",
		`{"labels":{"a":1,"a":2}}`:             `labels["a"] is there twice: send it once`,
		`{"free":{"a":{"b":1,"b":2}}}`:         "free.a.b is there twice: send it once",
		`{"free":{"":1,"":2}}`:                 `free."" is there twice: send it once`,
		`{"values":[1,{"a":1,"a":2}]}`:         "values[1].a is there twice: send it once",
		`{"nosuch":1,"nosuch":2}`:              "nosuch is there twice: send it once",
		`{"nosuch":{"a":1,"a":2}}`:             "nosuch.a is there twice: send it once",
		`{"kind":"x","small":1,"small":2}`:     "kind is x, which is no value of Kind: it has KIND_NONE, SMALL, LARGE; small is there twice: send it once",
	} {
		for name, check := range map[string]func() error{
			"a body":            func() error { _, err := put.Body([]byte(body)); return err },
			"a body and a path": func() error { _, err := put.Message([]byte(body), []string{"1"}, ""); return err },
			"a route":           func() error { _, err := put.Merge([]byte(body), "", nil); return err },
		} {
			err := check()
			got := ""
			if e := errs.From(err); e != nil {
				got = e.Message
			}
			if got != want {
				t.Errorf("%s, %s: %q, want %q", name, body, got, want)
			}
		}
	}
	many := `{"x":{`
	for i := range 100 {
		many += `"k` + strings.Repeat("x", i) + `":1,`
	}
	guest := transcode.Untyped("greeter", "Greeter.Hello", "POST", "/")
	if _, err := guest.Body([]byte(many + `"kxxxxxxxxxx":2}}`)); err == nil || !strings.Contains(err.Error(), "x.kxxxxxxxxxx is there twice") {
		t.Errorf("one of many, to a guest: %v", err)
	}
	if _, err := guest.Body([]byte(many + `"other":2}}`)); err != nil {
		t.Errorf("many, to a guest: %v", err)
	}
}

// TestLaterSourcesWin merges a body, a query and named parameters, at any depth and by both names of a field.
func TestLaterSourcesWin(t *testing.T) {
	put := mappingShop(t).Endpoint("shop-svc", "Shop.Put")
	got, err := put.Merge([]byte(`{"filter":{"owner":"body","max_price":1},"any_value":1,"small":1}`), "filter.owner=query&filter.kind=1", map[string]string{"filter.maxPrice": "7", "small": "2"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exactly(t, `{"filter":{"owner":"query","kind":1,"maxPrice":7},"anyValue":1,"small":2}`), exactly(t, string(got))); diff != "" {
		t.Error(diff)
	}
	if _, err := put.Merge([]byte(`{"filter":[]}`), "filter.owner=x", nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("into a list: %v", err)
	}
	if got, err := put.Merge([]byte(`{"filter":null}`), "filter.owner=x", nil); err != nil || string(got) != `{"filter":{"owner":"x"}}` {
		t.Errorf("into null: %s, %v", got, err)
	}
	got, err = put.Message([]byte(`{"id":"body"}`), []string{"path"}, "")
	if err != nil || string(got) != `{"id":"path"}` {
		t.Errorf("a path beside a body: %s, %v", got, err)
	}
}

// TestDescriptionsListParametersThatWork sends each parameter that the description lists.
func TestDescriptionsListParametersThatWork(t *testing.T) {
	b := mappingShop(t)
	raw, err := b.OpenAPI("test")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Schema   struct {
					Type, Ref any
					Enum      []string
					Format    string
				}
			}
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	get, _, _ := b.Match("shop-svc", "GET", "/shop-svc/m")
	samples := []string{"true", "1", "LARGE", "2026-01-02T15:04:05Z", "1s", "a", "aGk="}
	var names []string
	for _, p := range d.Paths["/shop-svc/m"]["get"].Parameters {
		names = append(names, p.Name)
		if !slices.ContainsFunc(samples, func(s string) bool {
			msg, err := get.Message(nil, nil, p.Name+"="+url.QueryEscape(s))
			return err == nil && string(msg) != "{}"
		}) {
			t.Errorf("%s is listed, and no value works", p.Name)
		}
	}
	want := "id filter.owner filter.kind filter.tags filter.maxPrice kind kinds big small bigs flag count total note blob ratio since wait mask data times left right maybe single"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("listed are %s", got)
	}
	page, err := b.Docs("test", nil)
	if err != nil || !strings.Contains(string(page), "<code>filter.owner</code>") {
		t.Errorf("the page lacks filter.owner: %v", err)
	}
}

func TestQueriesOfVersion2NameUnknownFieldsWithin(t *testing.T) {
	get, _, _ := mappingShop(t).Match("shop-svc", "GET", "/shop-svc/m")
	for query, want := range map[string]string{
		"filter.owner=a":    "",
		"filter.ownr=a":     "filter.ownr is no field of Filter: did you mean owner?",
		"filter.inner.x=a":  "filter.inner.x is no field of Filter: it has owner, kind, tags, inner, labels, maxPrice",
		"filtr.owner=a":     "filtr.owner is no field of M: did you mean filter?",
		"ID=a":              "ID is no field of M: did you mean id?",
		"filter.owner.x=a":  "", // left to Message
		"nosuch.owner[a]=x": `"nosuch.owner[a]" is no field of M`,
	} {
		got := ""
		if err := get.Unknown(nil, query); err != nil {
			got = errs.From(err).Message
		}
		if got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}
