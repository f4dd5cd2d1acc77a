package transcode_test

import (
	"errors"
	"strings"
	"testing"

	"micromesh/gateway/transcode"
	"micromesh/pkg/schema/schematest"
	"micromesh/pkg/schema/source"
)

// TestPartsOfBindingsThatAreNotSupportedAreRefused binds a method in each way that google.api.http knows and the gateway doesn't.
func TestPartsOfBindingsThatAreNotSupportedAreRefused(t *testing.T) {
	for rule, want := range map[string]string{
		// Accepted.
		`get: "/shop-svc/items"`:                                            "",
		`get: "/shop-svc/items/{id}"`:                                       "",
		`get: "/shop-svc/items/{item_id}/parts/{n}"`:                        "",
		`post: "/shop-svc/items:search" body: "*"`:                          "",
		`delete: "/shop-svc/items" body: "*"`:                               "",
		`patch: "/shop-svc/items" additional_bindings {get: "/shop-svc/x"}`: "",
		// Refused.
		`get: "/shop-svc/items" response_body: "id"`:          `response_body "id" is not supported: the answer is the whole message; leave response_body out`,
		`get: "/shop-svc/items" response_body: "*"`:           `response_body "*" is not supported`,
		`post: "/shop-svc/items" body: "id"`:                  `body "id": only "*" is supported, which is the whole message`,
		`get: "/shop-svc/items" body: "*"`:                    `body can't be with get, whose requests have none`,
		`selector: "shop.v1.Shop.Get" get: "/shop-svc/items"`: `selector "shop.v1.Shop.Get" is not supported`,
		`custom {kind: "HEAD" path: "/shop-svc/items"}`:       `custom method "HEAD" is not supported: use get, put, post, delete or patch`,
		`custom {kind: "*" path: "/shop-svc/items"}`:          `custom method "*" is not supported`,
		`additional_bindings {get: "/shop-svc/x"}`:            `the binding names no method and path: add one such as get: "/shop-svc/items"`,
		`get: ""`: `the binding names no method and path`,
		`get: "/shop-svc/x" additional_bindings {get: "/shop-svc/y" additional_bindings {get: "/shop-svc/z"}}`: `nests additional_bindings`,
		`get: "/shop-svc/x" additional_bindings {post: "/shop-svc/y" response_body: "id"}`:                     `response_body "id" is not supported`,
		`get: "/shop-svc/*"`:                  `* is not supported: a segment must be plain text or a field such as {id}`,
		`get: "/shop-svc/items/**"`:           `** is not supported`,
		`get: "/shop-svc/{id=*}"`:             `a pattern behind = is not supported`,
		`get: "/shop-svc/{id=**}"`:            `a pattern behind = is not supported`,
		`get: "/shop-svc/{id=items/*}"`:       `a pattern behind = is not supported`,
		`get: "/shop-svc/{id}:archive"`:       `the verb :archive behind a field is not supported: make it a segment, /archive`,
		`get: "/shop-svc/{item.id}"`:          `{item.id} is a field of a field, which is not supported`,
		`get: "/shop-svc/{item}"`:             `{item} is not a plain field of shop.v1.Item`,
		`get: "/shop-svc/{tags}"`:             `{tags} is not a plain field`,
		`get: "/shop-svc/{nosuch}"`:           `{nosuch} is not a plain field`,
		`get: "/shop-svc/{id}/{id}"`:          `{id} is there twice`,
		`get: "/shop-svc/{itemId}/{item_id}"`: `{itemId} is there twice`,
		`get: "/shop-svc/x{id}"`:              `"x{id}" is not supported`,
		`get: "/shop-svc/{id"`:                `"{id" is not supported`,
		`get: "/shop-svc/{}"`:                 `"{}" is not supported`,
		`get: "/shop-svc/{id}{n}"`:            `"{id}{n}" is not supported`,
		`get: "/shop-svc/items/"`:             `an empty segment, or a slash at its end`,
		`get: "/shop-svc//items"`:             `an empty segment`,
		`get: "/"`:                            `an empty segment`,
		`get: "/shop-svc/items?x=1"`:          `"items?x=1" is not supported`,
		`get: "/shop-svc/items#x"`:            `"items#x" is not supported`,
		`get: "/shop-svc/größe"`:              `"größe" is not supported`,
		`get: "/shop-svc/a b"`:                `"a b" is not supported`,
		`get: "/shop-svc/.."`:                 `".." is not supported`,
	} {
		_, err := transcode.NewService("shop-svc", schematest.File(t, "shop.v1", `
			message Item { string id = 1; string item_id = 2; int32 n = 3; Item item = 4; repeated string tags = 5; }
			service Shop { rpc Get(Item) returns (Item) { option (google.api.http) = {`+rule+`}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`))
		if want == "" && err != nil {
			t.Errorf("%s: %v", rule, err)
		}
		if want != "" {
			refused(t, rule, err, want)
		}
	}
}

// TestMessagesThatCantBeMappedAreRefused has methods whose messages are no JSON objects with fields.
func TestMessagesThatCantBeMappedAreRefused(t *testing.T) {
	for types, want := range map[string]string{
		"(google.protobuf.Empty) returns (google.protobuf.Empty)":  "",
		"(google.protobuf.Struct) returns (google.protobuf.Value)": "",
		"(M) returns (google.protobuf.StringValue)":                "",
		"(google.api.HttpBody) returns (M)":                        "the request is google.api.HttpBody, which is not supported: use a message with fields",
		"(M) returns (google.api.HttpBody)":                        "the answer is google.api.HttpBody, which is not supported",
		"(google.protobuf.StringValue) returns (M)":                "the request is google.protobuf.StringValue, whose JSON is no object of fields: put it into a message",
		"(google.protobuf.Value) returns (M)":                      "the request is google.protobuf.Value",
		"(google.protobuf.ListValue) returns (M)":                  "the request is google.protobuf.ListValue",
		"(google.protobuf.Any) returns (M)":                        "the request is google.protobuf.Any",
		"(google.protobuf.Timestamp) returns (M)":                  "the request is google.protobuf.Timestamp",
	} {
		_, err := transcode.NewService("shop-svc", schematest.File(t, "shop.v1", `
			import "google/api/httpbody.proto";
			import "google/protobuf/any.proto";
			import "google/protobuf/empty.proto";
			import "google/protobuf/struct.proto";
			import "google/protobuf/timestamp.proto";
			import "google/protobuf/wrappers.proto";
			message M { string id = 1; }
			service Shop { rpc Get`+types+` { option (google.api.http) = {post: "/shop-svc/x" body: "*"}; option (mesh.v1.access) = {caller: CALLER_PUBLIC}; } }`))
		if want == "" && err != nil {
			t.Errorf("%s: %v", types, err)
		}
		if want != "" {
			refused(t, types, err, want)
		}
	}
}

// refused checks that a mistake is named with the file, the line and the method.
func refused(t *testing.T, what string, err error, want string) {
	t.Helper()
	m, ok := errors.AsType[*source.MistakeError](err)
	if !ok || !strings.Contains(m.Error(), want) || m.File == "" || m.Line == 0 || m.Method != "shop.v1.Shop.Get" {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}
