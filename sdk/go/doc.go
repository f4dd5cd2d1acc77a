// Package sdk is what a service written in Go needs to be part of a mesh: an account with stored credentials, an
// instance that is registered and kept alive, the verification of its callers' tokens, and calls of other services.
//
// The start of a service:
//
//	svc, err := sdk.Open(ctx, sdk.Config{Slug: "hello-svc"})
//	if err != nil { … }
//	mux := http.NewServeMux()
//	mux.HandleFunc("GET /hello-svc/hello", func(w http.ResponseWriter, r *http.Request) {
//		name := "world"
//		if caller, err := svc.Verify(r); err == nil { name = caller.Slug }
//		_ = sdk.WriteJSON(w, http.StatusOK, map[string]string{"hello": name})
//	})
//	err = svc.Run(ctx, mux)
//
// Run it beside `micro up`, and `curl http://127.0.0.1:8080/hello-svc/hello`. It makes its account at the first start (the password is in
// hello-svc.credentials.json; keep that file), registers where it listens, beats, verifies its callers' tokens, and leaves when ctx ends.
//
//   - [Service.RequireRole] lets holders of a role alone through to a handler, [Service.RequireSignedIn] anybody with an account.
//   - [Service.Call] calls the mesh as the service; [Service.HasPermission] asks for a caller's permit.
//   - [WriteError] answers an error in the mesh's shape; what Call gives are such errors.
//   - With a server of one's own, [Service.Register] takes the place of Run: everything is usable with plain net/http.
//     [Service.Prove] around its handler proves to health checks whose address it is; Run does that by itself.
//
// Package middleware has handlers to put around others, package datastore keeps documents in SQLite or Postgres, and package contract
// holds fakes against the services that they stand for.
package sdk
