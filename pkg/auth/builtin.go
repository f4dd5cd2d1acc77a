package auth

import "slices"

// BuiltIn is a permission that calls of the mesh's own services take.
type BuiltIn struct {
	Permission string
	// Everyone reports whether every account holds it without a permit. All others are held by admins, and by whom a permit names.
	Everyone bool
	// Slugs are accounts of the mesh itself that hold it without a permit.
	Slugs []string
	// Allows says what its holders may do.
	Allows string
}

// BuiltIns lists every permission of the mesh's own services, sorted by service.
func BuiltIns() []BuiltIn { return slices.Clone(builtIns) }

var builtIns = []BuiltIn{
	{Permission: "user-svc:app:create", Allows: "create an app by reading a host that has none"},
	{Permission: "user-svc:app:delete", Allows: "delete apps"},
	{Permission: "user-svc:app:edit", Allows: "change the host of an app"},
	{Permission: "user-svc:app:view", Allows: "list all apps"},
	{Permission: "user-svc:enroll:delete", Allows: "take back roles of other owners in its app, except roles of the mesh's own services"},
	{Permission: "user-svc:enroll:edit", Allows: "grant roles of other owners in its app, except roles of the mesh's own services"},
	{Permission: "user-svc:enroll:view", Allows: "list the enrolls of its app"},
	{Permission: "user-svc:key:rotate", Allows: "rotate the keys that sign tokens"},
	{Permission: "user-svc:membership:delete", Allows: "remove members from organizations of its app"},
	{Permission: "user-svc:membership:edit", Allows: "add members to organizations of its app"},
	{Permission: "user-svc:organization:delete", Allows: "delete organizations of its app"},
	{Permission: "user-svc:organization:edit", Allows: "change organizations of its app"},
	{Permission: "user-svc:organization:view", Allows: "list the organizations of its app"},
	{Permission: "user-svc:permit:delete", Allows: "delete permits of other owners in its app, except permits of the mesh's own services"},
	{Permission: "user-svc:permit:edit", Allows: "grant permissions of other owners in its app, except permissions of the mesh's own services"},
	{Permission: "user-svc:permit:view", Allows: "list the permits of its app"},
	{Permission: "user-svc:self:edit", Everyone: true, Allows: "change the caller's own account and password"},
	{Permission: "user-svc:self:view", Everyone: true, Allows: "read the caller's own account and permissions"},
	{Permission: "user-svc:session:delete", Allows: "end sessions of other accounts in its app, except those of admins"},
	{Permission: "user-svc:session:view", Allows: "list sessions of other accounts in its app"},
	{Permission: "user-svc:token:exchange", Everyone: true, Allows: "exchange a token for one of another app or device"},
	{Permission: "user-svc:token:issue", Everyone: true, Allows: "issue a token for one service alone"},
	{Permission: "user-svc:user:create", Allows: "create accounts, with contacts that are unproved, and with roles that the caller may grant"},
	{Permission: "user-svc:user:delete", Allows: "delete accounts, except those of admins"},
	{Permission: "user-svc:user:edit", Allows: "change accounts, except those of admins"},
	{Permission: "user-svc:user:reset-password", Allows: "set the password of accounts, and so sign in as them, except those of admins"},
	{Permission: "user-svc:user:view", Allows: "list accounts"},

	{Permission: "registry-svc:definition:delete", Allows: "delete definitions of other accounts"},
	{Permission: "registry-svc:definition:edit", Allows: "change definitions of other accounts"},
	{Permission: "registry-svc:definition:view", Everyone: true, Allows: "list definitions"},
	{Permission: "registry-svc:instance:delete", Allows: "remove instances of other accounts"},
	{Permission: "registry-svc:instance:edit", Allows: "register instances of other accounts"},
	{Permission: "registry-svc:instance:view", Slugs: []string{"proxy-svc"}, Allows: "list instances of other accounts"},
	{Permission: "registry-svc:node:delete", Allows: "remove nodes"},
	{Permission: "registry-svc:node:view", Allows: "list nodes"},

	{Permission: "proxy-svc:cert:delete", Allows: "delete certificates"},
	{Permission: "proxy-svc:cert:edit", Allows: "save certificates"},
	{Permission: "proxy-svc:cert:view", Allows: "list certificates, without their keys"},
	{Permission: "proxy-svc:route:delete", Allows: "delete routes"},
	{Permission: "proxy-svc:route:edit", Allows: "save routes"},
	{Permission: "proxy-svc:route:view", Allows: "list routes"},

	{Permission: "gateway-svc:dead-letter:edit", Allows: "replay dead letters to their consumers"},
	{Permission: "gateway-svc:dead-letter:view", Allows: "list dead letters"},
	{Permission: "gateway-svc:event:view", Allows: "follow all events"},
	{Permission: "gateway-svc:guest:view", Allows: "list the programs in plain go-micro that were found, and those that can't join"},
	{Permission: "gateway-svc:schema:view", Allows: "list the schemas that the gateway has, and those that it refused"},
}

// held maps the permissions that need no permit to the slugs that hold them; no slugs are every account.
var held = func() map[string][]string {
	m := map[string][]string{}
	for _, b := range builtIns {
		if b.Everyone || len(b.Slugs) > 0 {
			m[b.Permission] = b.Slugs
		}
	}
	return m
}()

// holds reports whether a caller holds a permission without a permit.
func holds(c *Claims, permission string) bool {
	slugs, ok := held[permission]
	return ok && (len(slugs) == 0 || slices.Contains(slugs, c.Slug))
}
