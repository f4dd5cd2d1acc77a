package mesh_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"micromesh/internal/mesh"
	"micromesh/internal/meshtest"
	"micromesh/pkg/netpolicy/netpolicytest"
)

// names is a DNS server on loopback, which this process asks.
type names struct {
	addrs sync.Map // name → []netip.Addr
}

// dns answers all of this process's questions, from TestMain on.
var dns names

func TestMain(m *testing.M) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go dns.serve(conn)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	m.Run()
}

// resolve makes a name resolve to addresses from now on.
func (n *names) resolve(name string, addrs ...string) {
	var parsed []netip.Addr
	for _, a := range addrs {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	n.addrs.Store(name, parsed)
}

// serve answers questions until the connection is closed.
func (n *names) serve(conn net.PacketConn) {
	buf := make([]byte, 4<<10)
	for {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:size]); err != nil || len(m.Questions) != 1 {
			continue
		}
		n.answer(&m)
		if out, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(out, from)
		}
	}
}

func (n *names) answer(m *dnsmessage.Message) {
	q := m.Questions[0]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	addrs, known := n.addrs.Load(strings.TrimSuffix(q.Name.String(), "."))
	if !known {
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	for _, a := range addrs.([]netip.Addr) {
		h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
}

// TestNamesThatResolveToOthersLater registers an instance by a name, which resolves to forbidden addresses once it is healthy.
func TestNamesThatResolveToOthersLater(t *testing.T) {
	if !netpolicytest.Alone(t) {
		return
	}
	dns.resolve("rebind.test", "127.0.0.1")
	m := meshtest.Start(t)
	token := m.Register(t, "shop-svc")
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Connection", "close") // each request dials
		if r.URL.Path == "/shop-svc/away" {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}
	}))
	t.Cleanup(web.Close)
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	id := m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": "http://rebind.test:" + port}).Must(t, 201).Text("id")
	details := func() string {
		for _, i := range m.Do(t, "GET", "/registry-svc/instances", token, nil).Must(t, 200).Field("instances").([]any) {
			if in := i.(map[string]any); in["id"] == id {
				s, _ := in["details"].(string)
				return in["status"].(string) + " " + s
			}
		}
		return ""
	}
	meshtest.Eventually(t, "the instance is healthy", func() bool { return strings.HasPrefix(details(), "Healthy") })
	m.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 200)
	dns.resolve("rebind.test", "169.254.169.254", "127.0.0.1", "fe80::1") // of several addresses, one is fine
	m.Do(t, "GET", "/shop-svc/", "", nil).Must(t, 200)
	req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+"/shop-svc/away", nil)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = rsp.Body.Close(); rsp.StatusCode != http.StatusFound {
		t.Errorf("a redirect came as %d", rsp.StatusCode)
	}
	for _, to := range []string{"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "0.0.0.0", "224.0.0.1", "203.0.113.1", "fe80::1"} {
		dns.resolve("rebind.test", to)
		before := asked.Load()
		if a := m.Do(t, "GET", "/shop-svc/", "", nil); a.Status != 502 {
			t.Errorf("%s: answer is %d %s", to, a.Status, a.Body)
		}
		if asked.Load() != before {
			t.Errorf("%s: the instance was asked", to)
		}
	}
	meshtest.Eventually(t, "the health check is refused, too", func() bool {
		d := details()
		return strings.HasPrefix(d, "Unreachable") && strings.Contains(d, "its host")
	})
}

// TestTheMeshIsNoInstance registers names, and addresses in other spellings, of the mesh's own listeners.
func TestTheMeshIsNoInstance(t *testing.T) {
	dns.resolve("own.test", "127.0.0.1")
	m := meshtest.Start(t)
	token := m.Register(t, "shop-svc")
	_, gateway, _ := net.SplitHostPort(m.Addr())
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"} {
		m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": "http://" + host + ":" + gateway}).Must(t, 400)
	}
	m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": "http://own.test:" + gateway}).Must(t, 201)
	meshtest.Eventually(t, "the instance is there", func() bool {
		return m.Do(t, "GET", "/shop-svc/", "", nil).Status == 502
	})
	for name, address := range map[string]string{"192.0.2.1": "http://192.0.2.1:9000", "2001:db8::1": "http://[2001:db8::1]:9000"} {
		a := m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": address}).Must(t, 400)
		if !strings.Contains(string(a.Body), "MICRO_INSTANCE_NETWORKS") {
			t.Errorf("%s: the error does not name the setting: %s", name, a.Body)
		}
	}
}

// TestTheMeshListensEverywhere registers further addresses of loopback, by which a gateway that listens on every address is reached.
func TestTheMeshListensEverywhere(t *testing.T) {
	if !netpolicytest.Alone(t) {
		return
	}
	m := meshtest.Start(t, func(c *mesh.Config) { c.Gateway.Listen = "0.0.0.0:0" })
	token := m.Register(t, "shop-svc")
	_, gateway, _ := net.SplitHostPort(m.Addr())
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.255.255.254", "[::ffff:127.0.0.3]"} {
		m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": "http://" + host + ":" + gateway + "/user-svc"}).Must(t, 400)
	}
	m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": "http://127.0.0.2:1"}).Must(t, 201)
}

// TestOperatorsMayNameOtherNetworks checks that an admin's route forwards to networks in which no instance may be, and not to forbidden addresses.
func TestOperatorsMayNameOtherNetworks(t *testing.T) {
	if !netpolicytest.Alone(t) {
		return
	}
	dns.resolve("operator.test", "127.0.0.1")
	m := meshtest.Start(t, meshtest.InstanceNetworks("10.0.0.0/8"))
	admin, token := m.Admin(t), m.Register(t, "shop-svc")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	t.Cleanup(web.Close)
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	_, gateway, _ := net.SplitHostPort(m.Addr())
	m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": web.URL}).Must(t, 400)
	m.Do(t, "PUT", "/registry-svc/instance", token, map[string]any{"url": "http://operator.test:" + port}).Must(t, 201)
	for host, target := range map[string]string{"own.example.com": "http://operator.test:" + gateway, "shop.example.com": "http://operator.test:" + port} {
		m.Do(t, "PUT", "/proxy-svc/routes", admin, map[string]any{"routes": []map[string]any{{"id": host, "target": target}}}).Must(t, 200)
	}
	status := func(host, path string) int {
		req, err := http.NewRequestWithContext(t.Context(), "GET", m.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		return meshtest.Send(t, req).Status
	}
	meshtest.Eventually(t, "the route forwards to loopback", func() bool { return status("shop.example.com", "/") == 200 })
	if got := status("own.example.com", "/"); got != 502 {
		t.Errorf("a route to the mesh itself: %d", got)
	}
	meshtest.Eventually(t, "the instance is refused at the same address", func() bool { return status("", "/shop-svc/") == 502 })
	for range 3 { // the two don't share connections
		if a, b := status("shop.example.com", "/"), status("", "/shop-svc/"); a != 200 || b != 502 {
			t.Errorf("route %d, instance %d", a, b)
		}
	}
	dns.resolve("operator.test", "169.254.169.254")
	if got := status("shop.example.com", "/"); got != 502 {
		t.Errorf("a route to the metadata service: %d", got)
	}
	m.Do(t, "PUT", "/proxy-svc/routes", admin, map[string]any{"routes": []map[string]any{{"id": "x.example.com", "target": "http://[64:ff9b::a9fe:a9fe]:" + strconv.Itoa(80)}}}).Must(t, 400)
}
