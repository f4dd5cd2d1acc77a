package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go-micro.dev/v5/broker"
	merrors "go-micro.dev/v5/errors"
	"go-micro.dev/v5/logger"
	"go-micro.dev/v5/server"
	mgrpc "go-micro.dev/v5/server/grpc"

	"micromesh/pkg/discovery"
	"micromesh/pkg/errs"
	"micromesh/pkg/rpc/client"
)

// Failing is a handler that returns the error that its request asks for.
type Failing struct{}

func (Failing) Read(_ context.Context, in *ReadRequest, out *ReadResponse) error {
	switch in.Name {
	case "":
		return &merrors.Error{Id: "failing", Code: int32(in.ID), Detail: "the reason", Status: http.StatusText(int(in.ID))}
	case "no detail":
		return &merrors.Error{Id: "failing", Code: int32(in.ID)}
	case "no text":
		return errors.New("")
	case "large":
		out.Name = strings.Repeat("x", client.MaxMessage)
	}
	return nil
}

// guestKinds are the servers of go-micro.
var guestKinds = map[string]func(...server.Option) server.Server{"http": server.NewRPCServer, "grpc": mgrpc.NewServer}

// guest starts one of go-micro's servers, as the registry's bridge brings it in.
func (m *mesh) guest(newServer func(...server.Option) server.Server, name string, handler any) {
	m.t.Helper()
	s := newServer(
		server.Name(name), server.Id("1"), server.Address("127.0.0.1:0"),
		server.Registry(m.reg), server.RegisterTTL(30*time.Second), server.RegisterInterval(10*time.Second),
		server.Broker(broker.NewMemoryBroker()), server.Metadata(map[string]string{discovery.Via: discovery.ViaStock}),
		server.WithLogger(logger.NewLogger(logger.WithOutput(io.Discard))),
	)
	if err := s.Handle(s.NewHandler(handler)); err != nil {
		m.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = s.Stop() })
	m.eventually(name+" is known", func() bool { return m.reg.Lookup(name) != nil })
}

// TestStatusesOfGuests has a guest return errors with all kinds of statuses.
func TestStatusesOfGuests(t *testing.T) {
	m := newMesh(t)
	for kind, newServer := range guestKinds {
		m.guest(newServer, kind, Failing{})
	}
	c := m.client(client.Config{})
	for _, row := range []struct {
		code    int
		name    string
		status  int
		wantErr string // code
		message string
	}{
		{400, "", 400, "VALIDATION_ERROR", "the reason"},
		{401, "", 401, "UNAUTHENTICATED", "the reason"},
		{402, "", 402, "PAYMENT_REQUIRED", "the reason"},
		{403, "", 403, "FORBIDDEN", "the reason"},
		{404, "", 404, "NOT_FOUND", "the reason"},
		{405, "", 405, "METHOD_NOT_ALLOWED", "the reason"},
		{406, "", 406, "NOT_ACCEPTABLE", "the reason"},
		{407, "", 502, "BAD_ANSWER", "the service can't be asked in this way"},
		{408, "", 504, "TIMEOUT", "the service took too long to answer"},
		{409, "", 409, "CONFLICT", "the reason"},
		{410, "", 410, "GONE", "the reason"},
		{410, "no detail", 410, "GONE", "gone"},
		{412, "", 412, "PRECONDITION_FAILED", "the reason"},
		{413, "", 413, "TOO_LARGE", "the reason"},
		{415, "", 415, "UNSUPPORTED_MEDIA_TYPE", "the reason"},
		{418, "", 418, "IM_A_TEAPOT", "the reason"},
		{421, "", 502, "BAD_ANSWER", "the service can't be asked in this way"},
		{422, "", 422, "UNPROCESSABLE_ENTITY", "the reason"},
		{423, "", 423, "LOCKED", "the reason"},
		{428, "", 428, "PRECONDITION_REQUIRED", "the reason"},
		{429, "", 429, "TOO_MANY_REQUESTS", "the reason"},
		{431, "", 502, "BAD_ANSWER", "the service can't be asked in this way"},
		{451, "", 451, "UNAVAILABLE_FOR_LEGAL_REASONS", "the reason"},
		{499, "", 499, "VALIDATION_ERROR", "the reason"},
		{500, "", 500, "INTERNAL", "something went wrong on our side"},
		{501, "", 501, "NOT_IMPLEMENTED", "the service does not do this"},
		{502, "", 503, "UNAVAILABLE", "the service is not available for now"},
		{503, "", 503, "UNAVAILABLE", "the service is not available for now"},
		{504, "", 504, "TIMEOUT", "the service took too long to answer"},
		{599, "", 500, "INTERNAL", "something went wrong on our side"},
		{0, "", 500, "INTERNAL", "something went wrong on our side"},
		{200, "", 500, "INTERNAL", "something went wrong on our side"},
		{0, "no text", 500, "INTERNAL", "something went wrong on our side"},
		{0, "large", 502, "BAD_ANSWER", ""},
	} {
		for kind := range guestKinds {
			_, _, err := c.RawGuest(t.Context(), kind, "Failing.Read", []byte(`{"id":`+strconv.Itoa(row.code)+`,"name":"`+row.name+`"}`), nil)
			e := errs.From(err)
			if e == nil || e.Status() != row.status || e.Code != row.wantErr || row.message != "" && e.Message != row.message {
				t.Errorf("%s: %d %s: %v (%d %s), want %d %s", kind, row.code, row.name, err, statusOf(e), codeOf(e), row.status, row.wantErr)
			}
			if row.status >= 500 && row.code >= 400 && row.name == "" && !strings.Contains(err.Error(), "the reason") && row.wantErr != "BAD_ANSWER" {
				t.Errorf("%s: %d: the log would lack the reason: %v", kind, row.code, err)
			}
		}
	}
}

func statusOf(e *errs.Error) int {
	if e == nil {
		return 0
	}
	return e.Status()
}

func codeOf(e *errs.Error) string {
	if e == nil {
		return ""
	}
	return e.Code
}

// TestAnswersOfGuestsThatAreNone has a server answer what no server of go-micro answers, or break the connection.
func TestAnswersOfGuestsThatAreNone(t *testing.T) {
	for name, row := range map[string]struct {
		answer string
		want   string // code
	}{
		"a page":         {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "BAD_ANSWER"},
		"another status": {"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "BAD_ANSWER"},
		"no JSON":        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{]", "BAD_ANSWER"},
		"half a body":    {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}", "CONNECTION_LOST"},
		"half a head":    {"HTTP/1.1 200 OK\r\nContent-", "CONNECTION_LOST"},
		"nothing":        {"", "CONNECTION_LOST"},
	} {
		m := newMesh(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Read(make([]byte, 64<<10))
				_, _ = io.WriteString(conn, row.answer)
				_ = conn.Close()
			}
		}()
		m.registerStock("users", "1", ln.Addr().String())
		_, err = read(t.Context(), m.client(client.Config{}), 1, "joe", nil)
		e := errs.From(err)
		if statusOf(e) != http.StatusBadGateway || e.Code != row.want || e.Code == "CONNECTION_LOST" && !strings.Contains(e.Message, "the call may have run") {
			t.Errorf("%s: %v (%d %s), want 502 %s", name, err, statusOf(e), codeOf(e), row.want)
		}
	}
}
