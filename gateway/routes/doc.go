// Package routes reads routes.yaml, in which an operator says of a gateway's paths what a slug alone does not say: where they lead,
// who may ask for them, and what may be answered from memory.
//
//	version: 1
//	public_paths: [/widgets/health]
//	routes:
//	  - path: /widgets
//	    method: GET
//	    proxy_upstream: ${WIDGETS_URL:-http://127.0.0.1:9001}
//	    cache_ttl: 10s
//	  - path: /widgets/{id}
//	    method: PUT
//	    proxy_upstream: widgets-svc                  # a slug: one of its instances
//	    auth_required: true
//	    scopes: [write:widgets]
//	  - path: /users/{id}
//	    method: GET
//	    proxy_upstream: users-svc/UserService.Read   # an RPC method: parameters come from path, query and body
//
// A path that a route describes belongs to the routes: other methods of it are 405. The most exact route wins: at each segment a literal
// before a {parameter}, that before the rest, "/*".
//
// A guard applies if any reading of a path matches it (package paths), and a path is public only if all of its readings are. A guarded
// route closes the other names of its slug or method (see [Closed]).
//
// A scope "write:widgets" is the permission "<slug>:widgets:write" of the upstream's slug, and of gateway-svc where the upstream is
// a URL: so that none but the upstream's owner, or an admin, can hand it out. A scope with two colons is a permission as it is.
package routes
