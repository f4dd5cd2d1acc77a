package handler_test

import (
	"testing"

	"micromesh/gateway/handler"
)

// TestGuestHeadersNameNoCaller tries header fields that a setting must not pass on to guests.
func TestGuestHeadersNameNoCaller(t *testing.T) {
	for _, name := range []string{
		"", "X Tenant", "X_Tenant", "X-*", "X-Ünit", "Authorization", "authorization", "Cookie", "X-User-ID", "x-user-slug", "X-User-Anything", "X-Org-Id", "X-Roles", "X-Scopes",
		"X-Client-IP", "X-Real-Ip", "X-Forwarded-For", "X-Request-Id", "Micro-Service", "Mesh-Api-Version", "Grpc-Timeout", "Timeout", "Remote", "Local", "Content-Type",
		"Host", "Connection", "Trace-Bin",
	} {
		if handler.CheckGuestHeader(name) == nil {
			t.Errorf("%q is passed on", name)
		}
	}
	for _, name := range append([]string{"X-Tenant", "x-feature-2", "If-Match", "Accept"}, handler.GuestHeaders...) {
		if err := handler.CheckGuestHeader(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
