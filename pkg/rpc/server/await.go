package server

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"micromesh/pkg/routing"
)

// Await asks the gateway to hold the answer of this call until its routing table shows what the call has changed.
// Outside a call it does nothing.
func Await(ctx context.Context, what ...routing.Await) {
	b, err := json.Marshal(what)
	if err != nil { // strings and booleans always marshal
		return
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs(routing.AwaitTrailer, string(b)))
}
