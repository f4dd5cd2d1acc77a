package handler_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"

	"micromesh/pkg/errs"

	userpb "micromesh/user/proto"
)

// from is a context of a call that the gateway made for a client.
func from(ctx context.Context, ip string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("x-client-ip", ip))
}

func TestLimitsGoByTheClientsAddress(t *testing.T) {
	c := realClient(t)
	login := func(ctx context.Context, password string) error {
		_, err := c.Login(ctx, &userpb.LoginRequest{Slug: slug, Password: password})
		return err
	}
	if _, err := c.Register(t.Context(), &userpb.RegisterRequest{Slug: slug, Password: password}); err != nil {
		t.Fatal(err)
	}
	one := from(t.Context(), "1.1.1.1")
	for range 5 {
		if err := login(one, "wrong password"); !errs.Is(err, errs.Unauthenticated) {
			t.Fatal(err)
		}
	}
	err := login(one, password)
	if !errs.Is(err, errs.TooMany) || errs.From(err).RetryAfter <= 0 {
		t.Errorf("the sixth: %v", err)
	}
	if err := login(from(t.Context(), "2.2.2.2"), password); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	for range 6 { // those without an address share one, with larger limits
		if err := login(t.Context(), "wrong password"); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("without an address: %v", err)
		}
	}
}
