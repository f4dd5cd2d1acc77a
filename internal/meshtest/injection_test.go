package meshtest_test

import (
	"net/url"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"micromesh/internal/meshtest"
	proxypb "micromesh/proxy/proto"
	registrypb "micromesh/registry/proto"
	userpb "micromesh/user/proto"
)

// payloads are pieces of SQL that would show, or do harm, wherever a text became a part of a statement.
var payloads = []string{
	"' OR 1=1--", "'; DROP TABLE users;--", `"; DROP TABLE instances;--`, "x') UNION SELECT password_hash FROM users--", "created_at; DELETE FROM users", "1 OR 1=1", "%' ESCAPE '\\", "\\'; SELECT pg_sleep(9);--",
}

// filled is a message of which every text is the payload, however deep, and lists have one element.
func filled(m protoreflect.MessageDescriptor, text string, depth int) obj {
	out := obj{}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		var v any
		switch {
		case f.IsMap():
			v = obj{text: text}
		case f.Kind() == protoreflect.StringKind || f.Kind() == protoreflect.BytesKind || f.Kind() == protoreflect.EnumKind:
			v = text
		case f.Kind() == protoreflect.MessageKind && depth > 0:
			v = filled(f.Message(), text, depth-1)
		default:
			continue
		}
		if f.IsList() {
			v = []any{v}
		}
		out[f.JSONName()] = v
	}
	return out
}

// TestSQLInEveryText puts SQL into every text of every call, as the one who may call most of them: nothing is executed, nothing found that
// should not be, and nobody sees an error of ours.
func TestSQLInEveryText(t *testing.T) {
	m := meshtest.Start(t)
	admin := m.Admin(t)
	joe := m.Register(t, "joe-whom-nobody-finds")
	m.Do(t, "PUT", "/registry-svc/instance", joe, obj{"url": "http://127.0.0.1:9"}).Must(t, 201)
	count := func() any {
		return m.Do(t, "POST", "/user-svc/users", admin, obj{"count": true}).Must(t, 200).Field("count")
	}
	before := count()
	calls := 0
	for _, file := range []protoreflect.FileDescriptor{userpb.File_user_v1_user_proto, registrypb.File_registry_v1_registry_proto, proxypb.File_proxy_v1_proxy_proto} {
		methods := file.Services().Get(0).Methods()
		for i := range methods.Len() {
			method := methods.Get(i)
			if name := string(method.Name()); name == "RevokeTokens" || name == "RefreshToken" || name == "ExchangeToken" || name == "ChangePassword" {
				continue // they would end the sign-in; none of their texts is looked for in the database
			}
			rule := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
			for _, payload := range payloads {
				verb, path := binding(rule)
				in := filled(method.Input(), payload, 4)
				for name, v := range in {
					text, _ := v.(string)
					path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(text))
				}
				path = strings.ReplaceAll(path, "{user_id}", url.PathEscape(payload))
				path = strings.ReplaceAll(path, "{organization_id}", url.PathEscape(payload))
				if verb == "GET" {
					q := url.Values{}
					for name, v := range in {
						if text, ok := v.(string); ok {
							q.Set(name, text)
						}
					}
					path += "?" + q.Encode()
				}
				a := m.Do(t, verb, path, admin, in)
				calls++
				if a.Status >= 500 {
					t.Errorf("%s with %q: %d %s", method.Name(), payload, a.Status, a.Body)
				}
				// Each has a character that base64 has not: keys and ids of an answer are random, and did have "SQL" in them.
				for _, leak := range []string{"joe-whom", "127.0.0.1:9", "SQL logic", "SQLSTATE ", "syntax error", "no such column", "pq:"} {
					if a.Status == 200 && method.Name() != "ReadSelf" && strings.Contains(string(a.Body), leak) || a.Status != 200 && (leak == "pq:" || leak == "syntax error") && strings.Contains(string(a.Body), leak) {
						t.Errorf("%s with %q answers with %s: %s", method.Name(), payload, leak, a.Body)
					}
				}
			}
		}
	}
	if calls < 200 {
		t.Errorf("only %d calls were made", calls)
	}
	if after := count(); after != before {
		t.Errorf("there were %v accounts, and are %v", before, after)
	}
	m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200)
	if a := m.Do(t, "GET", "/registry-svc/instances", joe, nil).Must(t, 200); len(a.Field("instances").([]any)) != 1 {
		t.Errorf("%s", a.Body)
	}
}

// binding gives the method and the path of a rule.
func binding(r *annotations.HttpRule) (method, path string) {
	for m, p := range map[string]string{"GET": r.GetGet(), "PUT": r.GetPut(), "POST": r.GetPost(), "DELETE": r.GetDelete(), "PATCH": r.GetPatch()} {
		if p != "" {
			return m, p
		}
	}
	return "", ""
}
