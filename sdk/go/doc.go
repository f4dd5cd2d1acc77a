// Package sdk is what a service written in Go needs to be part of a mesh: an account with stored credentials, an
// instance that is registered and kept alive, the verification of its callers' tokens, and calls of other services.
//
// The start of a service:
//
//	svc, err := sdk.Open(ctx, sdk.Config{Slug: "basic-svc"})
//	if err != nil { … }
//	mux := http.NewServeMux()
//	mux.HandleFunc("GET /basic-svc/hello", hello)
//	mux.Handle("PUT /basic-svc/pet", svc.RequireRole("basic-svc:pet:manager", http.HandlerFunc(savePet)))
//	err = svc.Run(ctx, mux)
//
// From then on the gateway leads /basic-svc/… to it. Everything is usable with plain net/http; package middleware has
// handlers to put around others, and package datastore keeps documents in SQLite or Postgres.
package sdk
