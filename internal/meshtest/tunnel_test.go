package meshtest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
)

// socket is a WebSocket through the gateway, to a service that sends back what comes.
type socket struct {
	net.Conn
	r *bufio.Reader
}

// echo is a service that switches to WebSocket, and sends back what comes.
func echo(t *testing.T) (url string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// open opens a WebSocket with a token; none where it is empty. It takes part for a minute at most.
func (s *shop) open(t *testing.T, token string) *socket {
	t.Helper()
	host := strings.TrimPrefix(s.URL, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	head := "GET /shop-svc/ HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	if token != "" {
		head += "Authorization: Bearer " + token + "\r\n"
	}
	fmt.Fprint(c, head+"\r\n")
	out := &socket{c, bufio.NewReader(c)}
	rsp, err := http.ReadResponse(out.r, nil)
	if err != nil || rsp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the answer is %v, %v", rsp, err)
	}
	return out
}

// lives fails the test unless what is sent comes back.
func (c *socket) lives(t *testing.T) {
	t.Helper()
	const frame = "\x81\x85\x01\x02\x03\x04hello"
	back := make([]byte, len(frame))
	if _, err := io.WriteString(c, frame); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c.r, back); err != nil || string(back) != frame {
		t.Fatalf("%q came back, %v", back, err)
	}
}

// busy sends all the time, until the connection ends.
func (c *socket) busy() {
	for range time.Tick(10 * time.Millisecond) {
		if _, err := io.WriteString(c, "\x81\x81\x01\x02\x03\x04x"); err != nil {
			return
		}
	}
}

// ends fails the test unless the gateway closes the connection within the minute that it has.
func (c *socket) ends(t *testing.T, name string) {
	t.Helper()
	_, err := io.Copy(io.Discard, c.r)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Errorf("%s: the WebSocket stays", name)
	}
}

// TestWebSocketEndsWithItsToken has the tokens of some WebSockets revoked and those of others expire, of clients that are
// silent and of such that always send.
func TestWebSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, func(c *mesh.Config) {
		c.Gateway.TunnelCheck, c.User.TokenExpiration = 100*time.Millisecond, time.Second // and the leeway for clocks
	})
	s := &shop{Mesh: m, token: m.Register(t, "shop-svc")}
	s.serve(t, echo(t))
	expiring, revoked := s.Register(t, "joe"), s.Register(t, "ann")
	nobody, silent, sends := s.open(t, ""), s.open(t, expiring), s.open(t, expiring)
	silentRevoked, sendsRevoked := s.open(t, revoked), s.open(t, revoked)
	for _, c := range []*socket{nobody, silent, sends, silentRevoked, sendsRevoked} {
		c.lives(t)
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(sendsRevoked.busy)

	s.Do(t, "DELETE", "/user-svc/tokens", revoked, nil).Must(t, 200)
	silentRevoked.ends(t, "silent, revoked")
	sendsRevoked.ends(t, "sends, revoked")
	silent.lives(t)
	sends.lives(t)
	sending.Go(sends.busy)

	silent.ends(t, "silent, expired")
	sends.ends(t, "sends, expired")
	nobody.lives(t)
}

// TestWebSocketEndsWithARole takes roles away that the service behind a WebSocket has received.
func TestWebSocketEndsWithARole(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.TunnelCheck = 100 * time.Millisecond })
	s := &shop{Mesh: m, token: m.Register(t, "shop-svc")}
	s.serve(t, echo(t))
	id := func(token string) string {
		return m.Do(t, "POST", "/user-svc/self", token, nil).Must(t, 200).Text("user", "id")
	}
	joe, boss, ann := m.Register(t, "joe"), m.Register(t, "boss"), m.Register(t, "ann")
	saved := m.Do(t, "PUT", "/user-svc/enrolls", s.token, obj{"enrolls": []obj{{"role": "shop-svc:operator", "userId": id(joe)}}}).Must(t, 200)
	enroll, _ := saved.Field("enrolls").([]any)[0].(obj)["id"].(string)
	org := m.Do(t, "PUT", "/user-svc/organization", boss, obj{"slug": "acme", "name": "acme"}).Must(t, 200)
	boss = org.Text("token", "token")
	member := "/user-svc/organization/" + org.Text("organization", "id") + "/user/" + id(ann)
	m.Do(t, "PUT", member, boss, obj{}).Must(t, 200)
	operator, employee := s.open(t, m.Login(t, "joe", "password-of-joe")), s.open(t, m.Login(t, "ann", "password-of-ann"))
	without := s.open(t, joe) // its token is older than the role
	for _, c := range []*socket{operator, employee, without} {
		c.lives(t)
	}
	m.Do(t, "DELETE", "/user-svc/enrolls", s.token, obj{"ids": []string{enroll}}).Must(t, 200)
	operator.ends(t, "a role")
	employee.lives(t)
	m.Do(t, "DELETE", member, boss, obj{}).Must(t, 200)
	employee.ends(t, "a membership")
	without.lives(t)
}
