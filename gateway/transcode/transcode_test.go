package transcode_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"micromesh/gateway/transcode"
	"micromesh/pkg/errs"
	"micromesh/pkg/meshpb"
	proxypb "micromesh/proxy/proto"
	registrypb "micromesh/registry/proto"
	userpb "micromesh/user/proto"
)

func builtIn(t testing.TB) *transcode.Bindings {
	t.Helper()
	b, err := transcode.New(userpb.File_user_v1_user_proto, registrypb.File_registry_v1_registry_proto, proxypb.File_proxy_v1_proxy_proto)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMatch(t *testing.T) {
	rows := []struct {
		service, method, path string
		want                  string
		params                []string
		allowed               string
	}{
		{"user-svc", "POST", "/user-svc/login", "UserService.Login", nil, ""},
		{"user-svc", "POST", "/user-svc/self", "UserService.ReadSelf", nil, ""},
		{"user-svc", "PUT", "/user-svc/self", "UserService.SaveSelf", nil, ""},
		{"user-svc", "POST", "/user-svc/self/has/a:b:c", "UserService.HasPermission", []string{"a:b:c"}, ""},
		{"user-svc", "POST", "/user-svc/usr_1/reset-password", "UserService.ResetPassword", []string{"usr_1"}, ""},
		{"user-svc", "PUT", "/user-svc/organization/o/user/u", "UserService.SaveMembership", []string{"o", "u"}, ""},
		{"registry-svc", "DELETE", "/registry-svc/node/http%3A%2F%2Fvm", "RegistryService.DeleteNode", []string{"http%3A%2F%2Fvm"}, ""},
		{"registry-svc", "GET", "/registry-svc/node/self", "RegistryService.SelfNode", nil, ""},
		{"user-svc", "GET", "/user-svc/user/usr_1", "", nil, "DELETE PUT"},
		{"user-svc", "HEAD", "/user-svc/public-key", "UserService.GetPublicKey", nil, ""},
		{"user-svc", "HEAD", "/user-svc/login", "", nil, "POST"},
		{"user-svc", "POST", "/user-svc/login/", "", nil, ""},
		{"user-svc", "POST", "/user-svc/Login", "", nil, ""},
		{"user-svc", "POST", "/user-svc//login", "", nil, ""},
		{"user-svc", "POST", "/user-svc/%6Cogin", "", nil, ""},
		{"user-svc", "POST", "/user-svc", "", nil, ""},
		{"user-svc", "POST", "/user-svc/self/has/", "", nil, ""},
		{"user-svc", "POST", "/user-svc/self/has/a/b", "", nil, ""},
		{"other-svc", "POST", "/other-svc/login", "", nil, ""},
	}
	b := builtIn(t)
	for _, r := range rows {
		got, params, allowed := b.Match(r.service, r.method, r.path)
		endpoint := ""
		if got != nil {
			endpoint = got.Endpoint
		}
		slices.Sort(allowed)
		if has := r.service != "other-svc"; b.Has(r.service) != has {
			t.Errorf("that there is %s: %v, want %v", r.service, !has, has)
		}
		if endpoint != r.want || cmp.Diff(r.params, params) != "" || strings.Join(allowed, " ") != r.allowed {
			t.Errorf("%s %s: %q %v, allowed %v; want %q %v, allowed %q", r.method, r.path, endpoint, params, allowed, r.want, r.params, r.allowed)
		}
	}
}

func TestMessage(t *testing.T) {
	rows := []struct {
		name, method, path, query, body string
		want                            string // JSON
	}{
		{"body as it is", "POST", "/user-svc/login", "", ` {"slug":"a"} `, `{"slug":"a"}`},
		{"no body", "POST", "/user-svc/self", "", "", `{}`},
		{"null", "POST", "/user-svc/self", "", "null", `{}`},
		{"path parameter", "POST", "/user-svc/self/has/a:b%3Ac", "", "", `{"permission":"a:b:c"}`},
		{"path wins over body", "PUT", "/user-svc/organization/o/user/u", "", `{"userId":"evil","x":1}`, `{"organizationId":"o","userId":"u","x":1}`},
		{"path without body", "DELETE", "/registry-svc/node/http%3A%2F%2Fvm%3A80", "", `{"url":"ignored"}`, `{"url":"http://vm:80"}`},
		{"query", "GET", "/registry-svc/instances", "slug=a&deploymentId=d&ip=1&other=x", "", `{"slug":"a","deploymentId":"d","ip":"1"}`},
		{"query of a free message", "GET", "/registry-svc/echo", "a=1&b=x%20y", "", `{"a":"1","b":"x y"}`},
		{"brackets in a text", "POST", "/user-svc/login", "", `{"slug":"\"` + strings.Repeat("[{", 100) + `"}`, `{"slug":"\"` + strings.Repeat("[{", 100) + `"}`},
		{"many flat lists", "POST", "/user-svc/login", "", `{"a":[` + strings.Repeat("[],{},", 100) + `1]}`, `{"a":[` + strings.Repeat("[],{},", 100) + `1]}`},
		{"query counts only without a body", "POST", "/user-svc/self", "countTokens=true", "", `{}`},
	}
	b := builtIn(t)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			service, _, _ := strings.Cut(r.path[1:], "/")
			n, params, _ := b.Match(service, r.method, r.path)
			if n == nil {
				t.Fatal("no binding")
			}
			got, err := n.Message([]byte(r.body), params, r.query)
			if err != nil {
				t.Fatal(err)
			}
			var have, want any
			if err := json.Unmarshal(got, &have); err != nil {
				t.Fatalf("%s: %v", got, err)
			}
			if err := json.Unmarshal([]byte(r.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMessageRefuses(t *testing.T) {
	b := builtIn(t)
	login, _, _ := b.Match("user-svc", "POST", "/user-svc/login")
	has, _, _ := b.Match("user-svc", "POST", "/user-svc/self/has/x")
	instances, _, _ := b.Match("registry-svc", "GET", "/registry-svc/instances")
	echo, _, _ := b.Match("registry-svc", "GET", "/registry-svc/echo")
	rows := []struct {
		name, body, query string
		n                 *transcode.Binding
		params            []string
	}{
		{"an array", `[]`, "", login, nil},
		{"a string", `"x"`, "", login, nil},
		{"a number", `1`, "", login, nil},
		{"nested too deep", `{"a":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 65), "", login, nil},
		{"lists nested too deep", `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "}", "", login, nil},
		{"too many texts", `{"a":"` + strings.Repeat(`","`, 100_000) + `"}`, "", login, nil},
		{"too many values", `{"a":[` + strings.Repeat("1,", 100_000) + "1]}", "", login, nil},
		{"not JSON beside a path parameter", `{"a":`, "", has, []string{"x"}},
		{"bad escape in the path", ``, "", has, []string{"%zz"}},
		{"no UTF-8 in the path", ``, "", has, []string{"%ff"}},
		{"bad query", ``, "slug=%zz", instances, nil},
		{"two names of one field", ``, "deploymentId=a&deployment_id=b", instances, nil},
		{"no UTF-8 in the query", ``, "slug=%ff", instances, nil},
		{"no UTF-8 in a free query", ``, "slug=%ff", echo, nil},
		{"a parameter of a free query twice", ``, "slug=a&slug=b", echo, nil},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got, err := r.n.Message([]byte(r.body), r.params, r.query); !errs.Is(err, errs.Invalid) {
				t.Errorf("got %.50q, %v; want Invalid", got, err)
			}
		})
	}
}

func TestQueryValuesHaveTheirFieldsTypes(t *testing.T) {
	b, err := transcode.New(typed(t))
	if err != nil {
		t.Fatal(err)
	}
	n, _, _ := b.Match("typed-svc", "GET", "/typed-svc/x")
	got, err := n.Message(nil, nil, "flag=true&number=7&list=a&list=b&ratio=1.5")
	if err != nil {
		t.Fatal(err)
	}
	var have any
	if err := json.Unmarshal(got, &have); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"flag": true, "number": 7.0, "list": []any{"a", "b"}, "ratio": 1.5}, have); diff != "" {
		t.Error(diff)
	}
	for _, q := range []string{"flag=perhaps", "number=x", "number=1.5", "ratio=x", "ratio=NaN", "ratio=-Inf", "list=a&list=%ff"} {
		if _, err := n.Message(nil, nil, q); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", q, err)
		}
	}
}

// typed is a service whose one method is bound as rule says; nil is GET /typed-svc/x.
func typed(t *testing.T, rules ...*annotations.HttpRule) protoreflect.FileDescriptor {
	t.Helper()
	if len(rules) == 0 {
		rules = []*annotations.HttpRule{{Pattern: &annotations.HttpRule_Get{Get: "/typed-svc/x"}}}
	}
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, JsonName: &name, Number: &n, Type: &kind, Label: &label}
	}
	const one, many = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	file := &descriptorpb.FileDescriptorProto{
		Name: new("typed.proto"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("M"), Field: []*descriptorpb.FieldDescriptorProto{
			field("flag", 1, descriptorpb.FieldDescriptorProto_TYPE_BOOL, one), field("number", 2, descriptorpb.FieldDescriptorProto_TYPE_INT32, one),
			field("list", 3, descriptorpb.FieldDescriptorProto_TYPE_STRING, many), field("ratio", 4, descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, one),
		}}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Typed")}},
	}
	for i, r := range rules {
		o := &descriptorpb.MethodOptions{}
		if r != nil {
			proto.SetExtension(o, annotations.E_Http, r)
		}
		proto.SetExtension(o, meshpb.E_Access, &meshpb.Access{Rule: &meshpb.Access_Caller{Caller: meshpb.Caller_CALLER_PUBLIC}})
		file.Service[0].Method = append(file.Service[0].Method, &descriptorpb.MethodDescriptorProto{
			Name: new("Call" + string(rune('A'+i))), InputType: new(".M"), OutputType: new(".M"), Options: o,
		})
	}
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestBindingsThatCannotBeAreRefused(t *testing.T) {
	get := func(path string) *annotations.HttpRule {
		return &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: path}}
	}
	rows := map[string]struct {
		rules []*annotations.HttpRule
		want  string
	}{
		"no binding":                  {[]*annotations.HttpRule{nil}, "google.api.http"},
		"parameter that is no field":  {[]*annotations.HttpRule{get("/typed-svc/{nothing}")}, "{nothing}"},
		"parameter that is a list":    {[]*annotations.HttpRule{get("/typed-svc/{list}")}, "{list}"},
		"slug that is a parameter":    {[]*annotations.HttpRule{get("/{flag}/x")}, "slug"},
		"path without a slash":        {[]*annotations.HttpRule{get("typed-svc")}, "path"},
		"body that is a field":        {[]*annotations.HttpRule{{Pattern: &annotations.HttpRule_Put{Put: "/typed-svc/x"}, Body: "list"}}, `"list"`},
		"two bindings of one route":   {[]*annotations.HttpRule{get("/typed-svc/{flag}"), get("/typed-svc/{number}")}, "already"},
		"a second binding of a route": {[]*annotations.HttpRule{{Pattern: get("/typed-svc/x").Pattern, AdditionalBindings: []*annotations.HttpRule{get("/typed-svc/x")}}}, "already"},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := transcode.New(typed(t, r.rules...))
			if err == nil || !strings.Contains(err.Error(), r.want) || !strings.Contains(err.Error(), "Typed.Call") {
				t.Errorf("got %v, want an error with %s that names the method", err, r.want)
			}
		})
	}
}

func TestLiteralsWinOverParameters(t *testing.T) {
	get := func(path string) *annotations.HttpRule {
		return &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: path}}
	}
	b, err := transcode.New(typed(t, get("/typed-svc/{flag}/x"), get("/typed-svc/self/x"), get("/typed-svc/{flag}")))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/typed-svc/self/x": "Typed.CallB", "/typed-svc/other/x": "Typed.CallA", "/typed-svc/self": "Typed.CallC"} {
		if n, _, _ := b.Match("typed-svc", "GET", path); n == nil || n.Endpoint != want {
			t.Errorf("%s leads to %+v, want %s", path, n, want)
		}
	}
}

// TestOpenAPISays looks at what generated clients are made of. A step of a path with an equals sign is the object of a list whose
// field has that value.
func TestOpenAPISays(t *testing.T) {
	raw, err := builtIn(t).OpenAPI("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	const schema = "components|schemas|"
	body := "content|application/json|schema|$ref"
	rows := []struct {
		path string
		want any // nil is nothing
	}{
		{"info|version", "1.2.3"},
		{"paths|/user-svc/login|post|requestBody|" + body, "#/components/schemas/LoginRequest"},
		{"paths|/user-svc/login|post|responses|200|" + body, "#/components/schemas/LoginResponse"},
		{"paths|/user-svc/login|post|responses|default|" + body, "#/components/schemas/Error"},
		{"paths|/user-svc/login|post|parameters", nil},
		{"paths|/registry-svc/definition/{id}|delete|responses|204|description", "Success"},
		{"paths|/registry-svc/definition/{id}|delete|responses|204|content", nil},
		{"paths|/registry-svc/definition/{id}|delete|requestBody", nil},
		{"paths|/registry-svc/definition/{id}|delete|parameters|name=id|in", "path"},
		{"paths|/registry-svc/definition/{id}|delete|parameters|in=query", nil},
		{"paths|/registry-svc/instances|get|parameters|name=slug|in", "query"},
		{"paths|/registry-svc/echo|get|parameters", nil},
		{"paths|/registry-svc/echo|put|requestBody|content|application/json|schema|additionalProperties", true},
		{schema + "RegisterRequest|required|slug", "slug"},
		{schema + "RouteInput|properties|target|maxLength", 2048.0},
		{schema + "User|properties|labels|additionalProperties|type", "string"},
		{schema + "ListUsersRequest|properties|ids|type", "array"},
		{schema + "ListUsersRequest|properties|ids|items|type", "string"},
		{schema + "ListUsersRequest|properties|order|enum|desc", "desc"},
		{schema + "ListUsersRequest|properties|limit|type", "integer"},
		{schema + "Usage|properties|percent|type", "number"},
		{schema + "Token|properties|app|$ref", "#/components/schemas/App"},
	}
	for _, r := range rows {
		if diff := cmp.Diff(r.want, at(doc, strings.Split(r.path, "|"))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.path, diff)
		}
	}
}

// at follows a path through a JSON value; nil is nothing.
func at(v any, path []string) any {
	for _, step := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			name, value, named := strings.Cut(step, "=")
			i := slices.IndexFunc(x, func(one any) bool { return one == step || named && one.(map[string]any)[name] == value })
			if i < 0 {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func TestOpenAPIDescribesEveryBinding(t *testing.T) {
	b := builtIn(t)
	raw, err := b.OpenAPI("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Paths map[string]map[string]struct {
			OperationID string
			Security    []any
			Responses   map[string]any
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	for _, n := range b.All() {
		op, ok := d.Paths[n.Pattern][strings.ToLower(n.Method)]
		if !ok || op.OperationID == "" {
			t.Errorf("%s %s is missing", n.Method, n.Pattern)
		}
	}
	if _, ok := d.Paths["/registry-svc/instance"]["put"].Responses["201"]; !ok {
		t.Error("registerInstance does not answer 201")
	}
	if len(d.Paths["/user-svc/login"]["post"].Security) != 0 || len(d.Paths["/user-svc/self"]["post"].Security) != 1 {
		t.Error("who needs a token is wrong")
	}
	for _, ref := range strings.Split(string(raw), `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if d.Components.Schemas[name] == nil {
			t.Errorf("the schema %s is missing", name)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `null`, `[1]`, `{"a":{"b":"\""}}`, "\x00"} {
		f.Add([]byte(s), "x", "a=b")
	}
	b := builtIn(f)
	n, _, _ := b.Match("user-svc", "POST", "/user-svc/self/has/x")
	f.Fuzz(func(t *testing.T, body []byte, param, query string) {
		out, err := n.Message(body, []string{param}, query)
		if err == nil && !json.Valid(out) {
			t.Errorf("%q and %q became %q, which is not JSON", body, param, out)
		}
	})
}
