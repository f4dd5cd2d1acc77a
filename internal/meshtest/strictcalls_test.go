package meshtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

// TestAnswersHaveExactlyTheFieldsOfTheContract makes every call of the contract, and decodes the answers as strictly as clients that are
// generated from it. Callers of version 2 get further fields.
func TestAnswersHaveExactlyTheFieldsOfTheContract(t *testing.T) {
	c := readContract(t)
	for version, later := range map[string][]string{
		"1": nil,
		"2": {"CreateUserResponse.user", "Instance.generation", "Instance.healthPath", "Instance.metadata", "RegisterInstanceResponse.proofKey", "Token.refreshToken"},
	} {
		t.Run("version "+version, func(t *testing.T) {
			m := meshtest.Start(t)
			if version == "2" {
				m = m.Version2()
			}
			s := &strictClient{t: t, httpContract: c, mesh: m, later: version == "2", called: map[string]bool{}, seen: map[string]bool{}, unknown: map[string]bool{}}
			s.accounts()
			s.registry()
			s.proxy()
			for name, call := range c.calls {
				if !s.called[name] {
					t.Errorf("%s was not called", name)
				}
				s.covers(call.answer)
			}
			unknown := make([]string, 0, len(s.unknown))
			for f := range s.unknown {
				unknown = append(unknown, f)
			}
			slices.Sort(unknown)
			if diff := cmp.Diff(later, unknown, cmp.Transformer("nil", func(l []string) string { return strings.Join(l, " ") })); diff != "" {
				t.Errorf("fields beyond the contract: %s", diff)
			}
		})
	}
}

// unsaid are fields that no answer of this mesh has: there is no GPU and nothing that was deleted.
var unsaid = []string{
	"deletedAt", "internalId", "gpus", "availabilityZone", "region", "nodeUrl",
}

// covers fails unless a type was decoded, with a value in each of its fields, and each type that it refers to.
func (s *strictClient) covers(kind string) {
	kind = strings.Trim(kind, "[]")
	fields, ok := s.types[kind]
	if !ok || s.seen["covered "+kind] {
		return
	}
	s.seen["covered "+kind] = true
	if !s.seen[kind] {
		s.t.Errorf("no answer has the type %s", kind)
	}
	for name, f := range fields {
		if slices.Contains(unsaid, name) {
			continue
		}
		if !s.seen[kind+"."+name] {
			s.t.Errorf("no answer has a value of %s.%s", kind, name)
		}
		s.covers(f.kind)
	}
}

// accounts calls user-svc.
func (s *strictClient) accounts() {
	s.call("getPublicKey", "", nil)
	admin := s.call("login", "", obj{"appHost": "unnamed", "slug": meshtest.AdminSlug, "password": meshtest.AdminPassword}).Text("token", "token")
	in := s.call("register", "", obj{"appHost": "unnamed", "slug": "joe", "name": "Joe", "password": "password-of-joe", "device": "phone"})
	joe, joeID := in.Text("token", "token"), in.Text("token", "userId")
	s.call("sendOtp", admin, obj{"appHost": "unnamed", "contactId": "bob@example.com", "contactPlatform": "email"})
	s.call("sendOtp", "", obj{"appHost": "unnamed", "contactId": "eve@example.com", "contactPlatform": "email"})
	s.call("createUser", admin, obj{
		"user": obj{"id": "", "slug": "ann", "name": "Ann"}, "password": "password-of-ann", "roleIds": []string{"ann:chief"},
		"contacts": []obj{{"id": "ann@example.com", "platform": "email", "handle": "ann@example.com", "verified": true, "createdAt": "", "updatedAt": "", "userId": ""}},
	})
	ann := s.mesh.Login(s.t, "ann", "password-of-ann")
	annID := s.call("readSelf", ann, nil).Text("user", "id")
	s.call("saveSelf", joe, obj{"name": "Joe!", "labels": obj{"team": "red"}, "thumbnailFileId": "file_1"})
	org := s.call("saveOrganization", joe, obj{"slug": "acme", "name": "Acme", "thumbnailFileId": "file_2"})
	joe = org.Text("token", "token")
	s.call("readSelf", joe, obj{"countTokens": true})
	s.call("saveMembership", joe, nil, org.Text("organization", "id"), annID)
	s.call("listOrganizations", joe, obj{"limit": 10})
	s.call("deleteMembership", joe, obj{}, org.Text("organization", "id"), annID)
	s.grants(admin, joe, ann, annID)
	s.call("refreshToken", joe, nil)
	s.call("exchangeToken", joe, obj{"newDevice": "watch"})
	s.call("listUsers", admin, obj{"search": "ann", "count": true, "limit": 1, "order": "asc", "orderBy": "createdAt"})
	s.call("listUsers", admin, obj{"count": true, "limit": 1})
	s.call("saveUser", admin, obj{"name": "Anna"}, annID)
	s.call("resetPassword", admin, obj{"newPassword": "another-password"}, annID)
	s.call("changePassword", s.mesh.Login(s.t, "ann", "another-password"), obj{"currentPassword": "another-password", "newPassword": "third-password"})
	s.call("revokeTokens", admin, obj{"userId": joeID, "device": "watch"})
	s.call("deleteUser", admin, nil, annID)
}

// grants calls user-svc about apps, enrolls and permits.
func (s *strictClient) grants(admin, joe, ann, annID string) {
	app := s.call("readApp", admin, obj{"host": "shop.example.com"})
	s.call("updateApp", admin, obj{"id": app.Text("app", "id"), "newHost": "store.example.com"})
	s.call("listApps", admin, obj{"ids": []string{app.Text("app", "id")}})
	s.call("listApps", admin, obj{"host": []string{"none.example.com"}})
	s.call("saveEnrolls", joe, obj{"enrolls": []obj{{"role": "joe:clerk", "userId": annID}, {"role": "joe:chief", "contactId": "zoe@example.com"}}})
	s.call("listEnrolls", joe, obj{"role": "joe:clerk"})
	s.call("savePermits", joe, obj{"permits": []obj{{"permission": "joe:pet:edit", "slugs": []string{"ann"}, "roles": []string{"joe:clerk"}}}})
	s.call("listPermits", joe, obj{})
	s.call("listPermissions", ann, nil)
	s.call("hasPermission", ann, nil, "joe:pet:edit")
	s.call("hasPermission", ann, nil, "joe:pet:eat")
}

// registry calls registry-svc.
func (s *strictClient) registry() {
	admin, pets := s.mesh.Admin(s.t), s.mesh.Register(s.t, "pets")
	s.call("saveDefinition", pets, obj{"definition": obj{
		"id": "pets", "image": obj{"name": "nginx", "internalPorts": []int{80}}, "ports": []obj{{"host": 8080, "internal": 80}},
		"repository": obj{"url": "https://git.example.com/x", "buildContext": ".", "containerFile": "Dockerfile", "version": "v1", "internalPorts": []int{80}},
		"envars":     []obj{{"key": "A", "value": "b"}}, "clients": []obj{{"language": "C#", "url": "https://example.com"}},
		"apiSpecs": []obj{{"protocolType": "openapi", "url": "/x", "version": "1", "metadata": obj{"a": "b"}}},
	}})
	s.call("listDefinitions", pets, nil)
	s.call("deleteDefinition", pets, nil, "pets")
	s.call("echoGet", "", nil, "a=1")
	s.call("echoPut", "", obj{"generation": 1, "b": []any{nil, "x"}})
	s.call("echoPost", "", obj{"refreshToken": obj{"b": true}})
	web := upstream.Start(s.t)
	in := s.call("registerInstance", pets, obj{"url": web.URL + "/base", "host": "pets.example.com", "deploymentId": "dep_1", "ip": "127.0.0.1"})
	s.call("registerInstance", pets, obj{"url": "http://127.0.0.1:9", "id": "away", "tags": []string{"a"}})
	meshtest.Eventually(s.t, "the checks have found out", func() bool {
		got := string(s.call("listInstances", pets, nil).Body)
		return strings.Contains(got, "Healthy") && strings.Contains(got, "Unreachable")
	})
	s.call("listInstances", admin, nil, "slug=pets&id=away")
	s.call("removeInstance", pets, nil, in.Text("id"))
	node := s.call("selfNode", admin, nil)
	s.call("listNodes", admin, obj{})
	s.call("deleteNode", admin, nil, node.Text("node", "url"))
}

// proxy calls proxy-svc.
func (s *strictClient) proxy() {
	admin := s.mesh.Admin(s.t)
	s.call("saveCerts", admin, obj{"certs": []obj{{"id": "shop.example.com", "cert": meshtest.HostPEM(s.t, "shop.example.com")}}})
	s.call("listCerts", admin, obj{"ids": []string{"shop.example.com"}})
	s.call("saveRoutes", admin, obj{"routes": []obj{{"id": "shop.example.com/a", "target": "http://127.0.0.1:9001"}}})
	s.call("listRoutes", admin, nil)
	s.call("deleteRoutes", admin, obj{"ids": []string{"shop.example.com/a"}})
}
