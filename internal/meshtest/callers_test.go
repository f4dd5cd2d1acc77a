package meshtest_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/internal/meshtest"
)

// careless starts an instance that reads no bodies: what follows a head is the next request. It answers with the number of the
// connection and the path.
func careless(t *testing.T) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	var open sync.Map
	var serving sync.WaitGroup
	serve := func(conn net.Conn) {
		defer conn.Close()
		number := int64(0) // of the connections that carry more than health checks
		for r := textproto.NewReader(bufio.NewReader(conn)); ; {
			line, err := r.ReadLine()
			if err == nil {
				_, err = r.ReadMIMEHeader()
			}
			if err != nil {
				return
			}
			path := strings.Fields(line + " - -")[1]
			if number == 0 && strings.HasPrefix(path, "/shop-svc/") {
				number = conns.Add(1)
			}
			body := fmt.Sprintf("%d %s", number, path)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			serving.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		open.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
		serving.Wait()
	})
	return "http://" + ln.Addr().String()
}

// TestAConnectionWithABodyServesItsCallerAlone checks which requests share a connection to an instance.
func TestAConnectionWithABodyServesItsCallerAlone(t *testing.T) {
	m := meshtest.Start(t)
	owner, ann, bob := m.Register(t, "shop-svc"), m.Register(t, "ann"), m.Register(t, "bob")
	m.Do(t, "PUT", "/registry-svc/instance", owner, obj{"url": careless(t)}).Must(t, 201)
	clients := [3]http.Client{}
	for i := range clients {
		tr := &http.Transport{}
		t.Cleanup(tr.CloseIdleConnections)
		clients[i].Transport = tr
	}
	half := "GET /shop-svc/stolen HTTP/1.1\r\nHost: x\r\nX: "
	for i, row := range []struct {
		client      int
		token, body string
		conn        string
	}{
		{0, "", "", "1"},
		{0, "", half, "1"},
		{1, "", "", "2"},
		{1, ann, half, "2"},
		{2, bob, "", "3"},
		{0, "", "", "3"},
		{2, bob, half, "3"},
		{1, "", "", "4"},
		{2, "not-a-token", "", "4"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+"/shop-svc/mine", strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		if row.token != "" {
			req.Header.Set("Authorization", "Bearer "+row.token)
		}
		rsp, err := clients[row.client].Do(req)
		if err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(rsp.Body).ReadString(0) // up to its end
		_ = rsp.Body.Close()
		if line != row.conn+" /shop-svc/mine" {
			t.Errorf("request %d: %d %q, want connection %s", i, rsp.StatusCode, line, row.conn)
		}
	}
}
