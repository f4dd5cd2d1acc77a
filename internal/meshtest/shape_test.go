package meshtest_test

import (
	"testing"

	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// first gives the first object of a list in an answer.
func first(t *testing.T, a meshtest.Answer, list string) any {
	t.Helper()
	objects, _ := a.Must(t, 200).Field(list).([]any)
	if len(objects) == 0 {
		t.Fatalf("there are no %s: %s", list, a.Body)
	}
	return objects[0]
}

// TestObjectsHaveEveryField reads each type of the contract where all its fields say something, and looks for each of
// them: a client that relies on one must not find it gone.
func TestObjectsHaveEveryField(t *testing.T) {
	m := meshtest.Start(t)
	admin, joe := m.Admin(t), m.Register(t, "joe")
	id := m.Do(t, "POST", "/user-svc/self", joe, nil).Must(t, 200).Text("user", "id")
	m.Do(t, "POST", "/user-svc/user", admin, obj{
		"user": obj{"id": "", "slug": "ann", "name": "Ann"}, "password": "password-of-ann", "roleIds": []string{"ann:chief"},
		"contacts": []obj{{"id": "ann@example.com", "platform": "email", "verified": true}},
	}).Must(t, 200)
	m.Do(t, "PUT", "/user-svc/self", joe, obj{"name": "Joe", "labels": obj{"team": "red"}, "thumbnailFileId": "file_1"}).Must(t, 200)
	org := m.Do(t, "PUT", "/user-svc/organization", joe, obj{"slug": "acme", "name": "Acme", "thumbnailFileId": "file_2"}).Must(t, 200)
	joe = org.Text("token", "token")
	m.Do(t, "PUT", "/user-svc/permits", joe, obj{"permits": []obj{{"permission": "joe:pet:edit", "slugs": []string{"ann"}, "roles": []string{"joe:clerk"}}}}).Must(t, 200)
	enroll := m.Do(t, "PUT", "/user-svc/enrolls", joe, obj{"enrolls": []obj{{"role": "joe:clerk", "contactId": "ann@example.com"}}})
	m.Do(t, "PUT", "/registry-svc/instance", joe, obj{"url": upstream.Start(t).URL + "/base", "host": "joe.example.com", "deploymentId": "dep_1", "tags": []string{"a"}}).Must(t, 201)
	m.Do(t, "PUT", "/registry-svc/definition", joe, obj{"definition": obj{
		"id": "joe", "image": obj{"name": "nginx", "internalPorts": []int{80}}, "ports": []obj{{"host": 8080, "internal": 80}},
		"repository": obj{"url": "https://git.example.com/x", "buildContext": ".", "containerFile": "Dockerfile", "version": "v1", "internalPorts": []int{80}},
		"envars":     []obj{{"key": "A", "value": "b"}}, "clients": []obj{{"language": "Go", "url": "https://example.com"}},
		"apiSpecs": []obj{{"protocolType": "openapi", "url": "/x", "version": "1", "metadata": obj{"a": "b"}}},
	}}).Must(t, 201)
	m.Do(t, "PUT", "/proxy-svc/certs", admin, obj{"certs": []obj{{"id": "shop.example.com", "cert": meshtest.HostPEM(t, "shop.example.com")}}}).Must(t, 200)
	m.Do(t, "PUT", "/proxy-svc/routes", admin, obj{"routes": []obj{{"id": "shop.example.com", "target": "http://127.0.0.1:9001"}}}).Must(t, 200)
	self := m.Do(t, "POST", "/user-svc/self", joe, obj{"countTokens": true}).Must(t, 200)
	ann := m.Do(t, "POST", "/user-svc/self", m.Login(t, "ann", "password-of-ann"), nil)
	has := m.Do(t, "POST", "/user-svc/self/has/user-svc:a:b", admin, nil).Must(t, 200)
	node := m.Do(t, "GET", "/registry-svc/node/self", admin, nil).Must(t, 200)
	definition := first(t, m.Do(t, "GET", "/registry-svc/definitions", joe, nil), "definitions")
	member := func(name string) any { return definition.(obj)[name] }
	item := func(name string) any { return member(name).([]any)[0] }
	users := m.Do(t, "POST", "/user-svc/users", admin, obj{"search": "ann", "count": true, "limit": 1})
	rows := map[string]struct {
		object any
		fields []string
	}{
		"App":          {m.Do(t, "POST", "/user-svc/app", "", obj{"host": "unnamed"}).Must(t, 200).Field("app"), []string{"host", "id"}},
		"Enroll":       {first(t, enroll, "enrolls"), []string{"appId", "contactId", "createdAt", "createdBy", "id", "role", "updatedAt", "userId"}},
		"Token":        {org.Field("token"), []string{"active", "app", "appId", "createdAt", "device", "expiresAt", "id", "lastRefreshedAt", "token", "updatedAt", "userId"}},
		"Organization": {org.Field("organization"), []string{"appId", "createdAt", "id", "name", "slug", "thumbnailFileId", "updatedAt"}},
		"Permit":       {first(t, m.Do(t, "POST", "/user-svc/permits", joe, obj{}), "permits"), []string{"appId", "createdAt", "id", "permission", "roles", "slugs", "updatedAt"}},
		"Contact":      {first(t, ann, "contacts"), []string{"createdAt", "handle", "id", "isPrimary", "platform", "updatedAt", "userId", "verified"}},
		"User":         {self.Field("user"), []string{"createdAt", "id", "labels", "name", "slug", "thumbnailFileId", "updatedAt"}},
		"UserRecord":   {first(t, users, "users"), []string{"contactIds", "createdAt", "id", "name", "roles", "slug", "updatedAt"}},
		"Definition":   {definition, []string{"apiSpecs", "clients", "envars", "id", "image", "ports", "repository"}},
		"APISpec":      {item("apiSpecs"), []string{"metadata", "protocolType", "url", "version"}},
		"Client":       {item("clients"), []string{"language", "url"}},
		"EnvVar":       {item("envars"), []string{"key", "value"}},
		"ImageSpec":    {member("image"), []string{"internalPorts", "name"}},
		"PortMapping":  {item("ports"), []string{"host", "internal"}},
		"Repository":   {member("repository"), []string{"buildContext", "containerFile", "internalPorts", "url", "version"}},
		"Instance": {first(t, m.Do(t, "GET", "/registry-svc/instances", joe, nil), "instances"), []string{
			"deploymentId", "host", "id", "ip", "lastHeartbeat", "path", "port", "scheme", "slug", "status", "tags", "url",
		}},
		"Node":          {node.Field("node"), []string{"id", "lastHeartbeat", "url", "usage"}},
		"ResourceUsage": {node.Field("node", "usage"), []string{"cpu", "disk", "memory"}},
		"Usage":         {node.Field("node", "usage", "memory"), []string{"percent", "total", "used"}},
		"Cert": {first(t, m.Do(t, "POST", "/proxy-svc/certs", admin, nil), "certs"), []string{
			"cert", "commonName", "createdAt", "dnsNames", "id", "isCA", "issuer", "notAfter", "notBefore", "publicKeyAlgorithm",
			"publicKeyBitLength", "serialNumber", "signatureAlgorithm", "updatedAt",
		}},
		"Route":                 {first(t, m.Do(t, "POST", "/proxy-svc/routes", admin, nil), "routes"), []string{"id", "target"}},
		"ReadSelfResponse":      {self.Field(), []string{"activeOrganizationId", "organizations", "roles", "tokenCount", "user"}},
		"HasPermissionResponse": {has.Field(), []string{"app", "appId", "authorized", "until", "user"}},
		"ListUsersResponse":     {users.Field(), []string{"after", "count", "users"}},
		"SendOtpResponse": {
			m.Do(t, "POST", "/user-svc/otp/send", admin, obj{"appHost": "unnamed", "contactId": "eva@example.com", "contactPlatform": "email"}).Must(t, 200).Field(),
			[]string{"body", "code", "contentType", "fromEmail", "fromName", "otpId", "subject"},
		},
		"GetPublicKeyResponse":     {m.Do(t, "GET", "/user-svc/public-key", "", nil).Must(t, 200).Field(), []string{"publicKey"}},
		"RegisterInstanceResponse": {m.Do(t, "PUT", "/registry-svc/instance", joe, obj{"url": "http://127.0.0.1:9"}).Must(t, 201).Field(), []string{"id"}},
	}
	for name, r := range rows {
		o, _ := r.object.(obj)
		for _, f := range r.fields {
			if empty(o[f]) {
				t.Errorf("%s has no %s: %v", name, f, o)
			}
		}
	}
	if got := first(t, enroll, "enrolls").(obj)["createdBy"]; got != id {
		t.Errorf("the enroll was created by %v, not by %s", got, id)
	}
}

// empty tells whether a JSON value says nothing.
func empty(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case bool:
		return !x
	case float64:
		return x == 0
	case []any:
		return len(x) == 0
	case obj:
		return len(x) == 0
	}
	return false
}
