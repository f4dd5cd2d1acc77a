package meshtest_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/internal/meshtest/upstream"
)

func TestInstancesThatNobodyMayHave(t *testing.T) {
	m := meshtest.Start(t)
	token := m.Register(t, "shop-svc")
	keys := obj{}
	for i := range 65 {
		keys[fmt.Sprintf("k%d", i)] = "v"
	}
	rows := map[string]struct {
		in     obj
		status int
	}{
		"metadata service":              {obj{"url": "http://169.254.169.254"}, 400},
		"metadata service, IPv6":        {obj{"url": "http://[fd00:ec2::254]"}, 400},
		"metadata service, as a number": {obj{"url": "http://2852039166"}, 400},
		"metadata service, by parts":    {obj{"scheme": "http", "ip": "169.254.169.254", "port": 80}, 400},
		"file":                          {obj{"url": "file:///etc/passwd"}, 400},
		"gopher":                        {obj{"url": "gopher://example.com:70"}, 400},
		"unix":                          {obj{"url": "unix:/run/x.sock"}, 400},
		"ftp":                           {obj{"url": "ftp://example.com"}, 400},
		"the gateway":                   {obj{"url": m.URL}, 400},
		"the gateway by its name":       {obj{"url": strings.Replace(m.URL, "127.0.0.1", "localhost", 1)}, 400},
		"user information":              {obj{"url": "http://a:b@example.com"}, 400},
		"a line break":                  {obj{"url": "http://example.com/\r\nHost: x"}, 400},
		"a fragment":                    {obj{"url": "http://example.com/#a"}, 400},
		"a query":                       {obj{"url": "http://example.com/?a"}, 400},
		"4 KiB":                         {obj{"url": "http://example.com/" + strings.Repeat("a", 4096)}, 400},
		"no URL":                        {obj{}, 400},
		"a status of its own":           {obj{"url": "http://example.com", "status": "Healthy"}, 400},
		"a weight of its own":           {obj{"url": "http://example.com", "weight": 1e9}, 400},
		"a negative weight":             {obj{"url": "http://example.com", "weight": -1}, 400},
		"17 KiB of metadata":            {obj{"url": "http://example.com", "metadata": obj{"k": strings.Repeat("v", 17<<10)}}, 413},
		"65 keys of metadata":           {obj{"url": "http://example.com", "metadata": keys}, 400},
		"SQL as an id":                  {obj{"url": "http://example.com", "id": "' OR 1=1--"}, 400},
	}
	for name, r := range rows {
		t.Run(name, func(t *testing.T) {
			if a := m.Do(t, "PUT", "/registry-svc/instance", token, r.in).Must(t, r.status); a.Text("error") == "" {
				t.Errorf("the answer is %s", a.Body)
			}
		})
	}
	m.Do(t, "PUT", "/registry-svc/instance", "", obj{"url": "http://example.com"}).Must(t, 401)
	if got := m.Do(t, "GET", "/registry-svc/instances", token, nil).Must(t, 200).Field("instances").([]any); len(got) != 0 {
		t.Errorf("there are instances: %v", got)
	}
}

func TestOldGenerationBringsNothingBack(t *testing.T) {
	m := meshtest.Start(t)
	token, web := m.Register(t, "shop-svc"), upstream.Start(t)
	a := m.Do(t, "PUT", "/registry-svc/instance", token, obj{"id": "shop-1", "url": web.URL}).Must(t, 201)
	m.Do(t, "DELETE", "/registry-svc/instance/shop-1", token, nil).Must(t, 204)
	m.Do(t, "PUT", "/registry-svc/instance", token, obj{"id": "shop-1", "url": web.URL, "generation": a.Field("generation")}).Must(t, 409)
	m.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 503)
}

// TestLostRoleIsLostAtOnce takes a role away, and sees that the token that still carries it opens nothing any more.
func TestLostRoleIsLostAtOnce(t *testing.T) {
	s := newShop(t)
	ann := s.Register(t, "ann")
	annID := s.Do(t, "POST", "/user-svc/self", ann, nil).Must(t, 200).Text("user", "id")
	a := s.Do(t, "PUT", "/user-svc/organization", s.token, obj{"slug": "acme", "name": "Acme"}).Must(t, 200)
	org, owner := a.Text("organization", "id"), a.Text("token", "token")
	role, path := "user-svc:org:{"+org+"}:user", "/user-svc/organization/"+org+"/user/"+annID
	s.Do(t, "PUT", path, owner, nil).Must(t, 200)
	s.Do(t, "PUT", "/user-svc/permits", owner, obj{"permits": []obj{{"permission": "shop-svc:pet:edit", "roles": []string{role}}}}).Must(t, 200)
	ann = s.Login(t, "ann", "password-of-ann")
	may := func() (permitted, told bool) {
		a := s.Do(t, "POST", "/user-svc/self/has/shop-svc:pet:edit", ann, nil).Must(t, 200)
		req := s.request(t, "GET", "/shop-svc/", nil)
		req.Header.Set("Authorization", "Bearer "+ann)
		return a.Field("authorized") == true, strings.Contains(seen(t, req).Header.Get("X-Roles"), role)
	}
	if permitted, told := may(); !permitted || !told {
		t.Fatalf("a member: permitted %v, its role told to the instance %v", permitted, told)
	}
	s.Do(t, "DELETE", path, owner, nil).Must(t, 200)
	if permitted, told := may(); permitted || told {
		t.Errorf("a member no more: permitted %v, its role told to the instance %v", permitted, told)
	}
}

// TestBearerWhileTheMeshStarts calls with a token of another mesh, over and over, while a mesh starts for the first time.
func TestBearerWhileTheMeshStarts(t *testing.T) {
	foreign := meshtest.Start(t).Admin(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	started, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		for {
			select {
			case <-started:
				return
			default:
			}
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/user-svc/users", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+foreign)
			rsp, err := http.DefaultClient.Do(req)
			if err != nil {
				continue // nobody listens yet
			}
			rsp.Body.Close()
			if rsp.StatusCode != 401 && rsp.StatusCode != 503 && rsp.StatusCode != 404 {
				t.Errorf("a foreign token: %d", rsp.StatusCode)
			}
		}
	}()
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.Listen = address })
	close(started)
	<-asked
	m.Do(t, "POST", "/user-svc/users", foreign, nil).Must(t, 401)
	m.Do(t, "POST", "/user-svc/users", m.Admin(t), nil).Must(t, 200)
}

// raw sends bytes as they are and gives the status of each answer that comes back.
func raw(t *testing.T, m *meshtest.Mesh, text string) (statuses []int) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(m.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(c); ; {
		rsp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses // the gateway has closed
		}
		statuses = append(statuses, rsp.StatusCode)
		_, _ = r.Discard(int(max(rsp.ContentLength, 0)))
	}
}

// TestRequestsOnTheWire sends what no client library sends, to an instance behind the whole mesh.
func TestRequestsOnTheWire(t *testing.T) {
	s := newShop(t)
	const head = "Host: localhost\r\nConnection: close\r\n"
	post := "POST /shop-svc/ HTTP/1.1\r\n" + head
	get := "GET /shop-svc/ HTTP/1.1\r\n" + head
	rows := []struct {
		name, request string
		status        int
	}{
		{"length and chunked", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", 400},
		{"a coding that is none", post + "Transfer-Encoding: xchunked\r\n\r\n", 501},
		{"chunked not last", post + "Transfer-Encoding: chunked, identity\r\n\r\n", 400},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"another coding and a length", post + "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello", 400},
		{"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		{"length with a sign", post + "Content-Length: +3\r\n\r\nabc", 400},
		{"length in hex", post + "Content-Length: 0x3\r\n\r\nabc", 400},
		{"negative length", post + "Content-Length: -1\r\n\r\n", 400},
		{"chunk size in C's hex", post + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400},
		{"chunk size too large", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc", 400},
		{"bare line feeds", "GET /shop-svc/ HTTP/1.1\nHost: localhost\n\n", 400},
		{"folded header", get + "X-A: b\r\n c\r\n\r\n", 400},
		{"NUL in a value", get + "X-A: b\x00c\r\n\r\n", 400},
		{"encoded dot segments", "GET /shop-svc/%2e%2e/admin HTTP/1.1\r\n" + head + "\r\n", 400},
		{"another host first", "GET //evil.example.com/x HTTP/1.1\r\n" + head + "\r\n", 400},
		{"two slashes first", "GET //evil.example.com/.. HTTP/1.1\r\n" + head + "\r\n", 400},
		{"absolute form of another host", "GET http://evil.example.com/shop-svc/ HTTP/1.1\r\n" + head + "\r\n", 400},
		{"two hosts", get + "Host: other\r\n\r\n", 400},
		{"no host", "GET /shop-svc/ HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		{"host with user information", "GET /shop-svc/ HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
		{"host with a path", "GET /shop-svc/ HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400},
		{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\n" + head + "\r\n", 405},
		{"TRACE", "TRACE /shop-svc/ HTTP/1.1\r\n" + head + "\r\n", 405},
		{"20,000 headers", get + strings.Repeat("A: b\r\n", 20_000) + "\r\n", 431},
		{"1.1 MB of headers", get + "X-A: " + strings.Repeat("a", 1_100_000) + "\r\n\r\n", 431},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := raw(t, s.Mesh, r.request); len(got) != 1 || got[0] != r.status {
				t.Errorf("the answers are %v, want %d", got, r.status)
			}
		})
	}
	if n := s.web.Requests(); n != 0 {
		t.Errorf("%d of these reached the instance", n)
	}
	if got := raw(t, s.Mesh, get+"\r\n"); len(got) != 1 || got[0] != 200 {
		t.Errorf("a proper request: %v", got)
	}
}
