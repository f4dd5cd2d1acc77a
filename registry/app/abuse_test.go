package app_test

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"micromesh/pkg/errs"
	"micromesh/registry/app"
)

func TestRegisterInstanceRefuses(t *testing.T) {
	m := start(t, func(c *app.Config) { c.Reserved = []string{"127.0.0.1:8080", "0.0.0.0:9090", "db.test:5432"} })
	_, rpcPort := splitAddress(t, m.host.Nodes.Lookup(app.Name).Nodes[0].Address)
	url := func(u string) string { return fmt.Sprintf(`{"url":%q}`, u) }
	keys := make([]string, 65)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	for name, c := range map[string]struct {
		body string
		kind errs.Kind
	}{
		"metadata service":                {url("http://169.254.169.254"), errs.Invalid},
		"metadata service, as IPv6":       {url("http://[fd00:ec2::254]"), errs.Invalid},
		"metadata service, IPv4 in IPv6":  {url("http://[::ffff:169.254.169.254]"), errs.Invalid},
		"metadata service, as a number":   {url("http://2852039166"), errs.Invalid},
		"metadata service, in hex":        {url("http://0xa9fea9fe"), errs.Invalid},
		"metadata service, in octal":      {url("http://0251.0376.0251.0376"), errs.Invalid},
		"metadata service, by name":       {url("http://metadata.google.internal"), errs.Invalid},
		"link-local":                      {url("http://[fe80::1]"), errs.Invalid},
		"link-local with a zone":          {url("http://[fe80::1%25eth0]"), errs.Invalid},
		"loopback in a short form":        {url("http://127.1"), errs.Invalid},
		"unspecified":                     {url("http://0.0.0.0:80"), errs.Invalid},
		"unspecified, IPv6":               {url("http://[::]:80"), errs.Invalid},
		"multicast":                       {url("http://224.0.0.1"), errs.Invalid},
		"broadcast":                       {url("http://255.255.255.255"), errs.Invalid},
		"metadata service, NAT64":         {url("http://[64:ff9b::169.254.169.254]"), errs.Invalid},
		"metadata service, NAT64 of ours": {url("http://[64:ff9b:1::a9fe:a9fe]"), errs.Invalid},
		"metadata service, 6to4":          {url("http://[2002:a9fe:a9fe::1]"), errs.Invalid},
		"metadata service of Azure":       {url("http://168.63.129.16"), errs.Invalid},
		"metadata service of Alibaba":     {url("http://100.100.100.200"), errs.Invalid},
		"outside of the networks":         {url("http://192.0.2.1"), errs.Invalid},
		"outside of the networks, IPv6":   {url("http://[2001:db8::1]"), errs.Invalid},
		"a health path with a query":      {`{"url":"http://x","healthPath":"/health?a=b"}`, errs.Invalid},
		"a health path, empty query":      {`{"url":"http://x","healthPath":"/health?"}`, errs.Invalid},
		"a health path with a fragment":   {`{"url":"http://x","healthPath":"/health#a"}`, errs.Invalid},
		"file":                            {url("file:///etc/passwd"), errs.Invalid},
		"gopher":                          {url("gopher://x:70"), errs.Invalid},
		"unix":                            {url("unix:/run/x.sock"), errs.Invalid},
		"ftp":                             {url("ftp://x"), errs.Invalid},
		"grpc, which discovery finds":     {url("grpc://127.0.0.1:9000"), errs.Invalid},
		"no scheme":                       {url("127.0.0.1:9000"), errs.Invalid},
		"user information":                {url("http://a:b@x"), errs.Invalid},
		"line break":                      {url("http://x/\r\nHost: y"), errs.Invalid},
		"fragment":                        {url("http://x/#a"), errs.Invalid},
		"query":                           {url("http://x/?a=b"), errs.Invalid},
		"empty query":                     {url("http://x/?"), errs.Invalid},
		"4 KB":                            {url("http://x/" + strings.Repeat("a", 4096)), errs.Invalid},
		"letters beyond ASCII":            {url("http://аdmin.test"), errs.Invalid},
		"dot segments":                    {url("http://x/a/%2e%2e/b"), errs.Invalid},
		"port 0":                          {url("http://x:0"), errs.Invalid},
		"port 65536":                      {url("http://x:65536"), errs.Invalid},
		"nothing":                         {`{}`, errs.Invalid},
		"no host":                         {`{"scheme":"http","port":80}`, errs.Invalid},
		"no scheme beside the host":       {`{"host":"x","port":80}`, errs.Invalid},
		"a negative port":                 {`{"scheme":"http","host":"x","port":-1}`, errs.Invalid},
		"a port that contradicts":         {`{"url":"http://x:80","port":81}`, errs.Invalid},
		"a host that contradicts":         {`{"url":"http://x:80","host":"y"}`, errs.Invalid},
		"an address that contradicts":     {`{"url":"http://127.9.0.1:80","ip":"127.9.0.2"}`, errs.Invalid},
		"an address that is none":         {`{"url":"http://x:80","ip":"y"}`, errs.Invalid},
		"a path that contradicts":         {`{"url":"http://x:80/a","path":"/b"}`, errs.Invalid},
		"the metadata service beside":     {`{"url":"http://x:80","ip":"169.254.169.254"}`, errs.Invalid},
		"the gateway":                     {url("http://127.0.0.1:8080"), errs.Invalid},
		"the gateway by another name":     {url("http://LOCALHOST:8080"), errs.Invalid},
		"the gateway as IPv4 in IPv6":     {url("http://[::ffff:127.0.0.1]:8080"), errs.Invalid},
		"what listens everywhere":         {url("http://[::1]:9090"), errs.Invalid},
		"the database":                    {url("http://db.test:5432"), errs.Invalid},
		"a service of the mesh":           {url(fmt.Sprintf("http://127.0.0.1:%d", rpcPort)), errs.Invalid},
		"a status of its own":             {`{"url":"http://x","status":"Healthy"}`, errs.Invalid},
		"a weight of its own":             {`{"url":"http://x","weight":1e9}`, errs.Invalid},
		"a negative weight":               {`{"url":"http://x","weight":-1}`, errs.Invalid},
		"a negative generation":           {`{"url":"http://x","generation":-1}`, errs.Invalid},
		"an id with spaces":               {`{"url":"http://x","id":"a b"}`, errs.Invalid},
		"a health path with a host":       {`{"url":"http://x","healthPath":"//evil.test/"}`, errs.Invalid},
		"a health path that is none":      {`{"url":"http://x","healthPath":"@evil.test"}`, errs.Invalid},
		"a health path with a break":      {`{"url":"http://x","healthPath":"/a\r\nb"}`, errs.Invalid},
		"65 keys of metadata":             {`{"url":"http://x","metadata":{` + strings.Join(keys, ",") + `}}`, errs.Invalid},
		"17 KiB of metadata":              {`{"url":"http://x","metadata":{"k":"` + strings.Repeat("v", 17<<10) + `"}}`, errs.TooLarge},
		"another's slug":                  {`{"url":"http://x","slug":"shop"}`, errs.Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.register("pets", c.body)
			wantKind(t, err, c.kind)
			if e := errs.From(err); e != nil && e.Message == "" {
				t.Error("the error says nothing")
			}
		})
	}
	if got := m.list("pets", "{}"); len(got) != 0 {
		t.Errorf("something was registered: %+v", got)
	}
	_, err := m.register("", url("http://x"))
	wantKind(t, err, errs.Unauthenticated)
}

func TestWhatBelongsToAnother(t *testing.T) {
	m := start(t)
	address := listen(t)
	theirs := m.mustRegister("shop", `{"id":"shop-1","url":"http://`+address+`"}`)
	before, _ := m.find(theirs.ID)
	_, port := splitAddress(t, address)
	for name, c := range map[string]struct {
		body string
		kind errs.Kind
	}{
		"its URL":                           {`{"url":"http://` + address + `"}`, errs.Conflict},
		"its URL, spelled otherwise":        {fmt.Sprintf(`{"url":"HTTP://[::ffff:127.0.0.1]:%d/"}`, port), errs.Conflict},
		"its id with a new URL":             {`{"id":"shop-1","url":"http://127.0.0.1:7009"}`, errs.Forbidden},
		"its id and URL, as its heartbeat":  {`{"id":"shop-1","url":"http://` + address + `"}`, errs.Forbidden},
		"its URL with a generation of luck": {`{"url":"http://` + address + `","generation":1}`, errs.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.register("pets", c.body)
			wantKind(t, err, c.kind)
		})
	}
	after, _ := m.find(theirs.ID)
	if after.URL != before.URL || after.Slug != "shop" || !after.LastHeartbeat.Equal(before.LastHeartbeat) || after.Generation != before.Generation {
		t.Errorf("it was changed: %+v, before %+v", after, before)
	}
	// An admin may register for others, and need not say for whom where that is known.
	if _, err := m.register("admin", `{"slug":"shop","url":"http://127.0.0.1:7010"}`); err != nil {
		t.Error(err)
	}
	if _, err := m.register("admin", `{"id":"shop-1","url":"http://127.0.0.1:7011"}`); err != nil {
		t.Error(err)
	}
	if in, _ := m.find("shop-1"); in.Slug != "shop" || in.Port != 7011 {
		t.Errorf("the admin made of it %+v", in)
	}
}

func TestHeartbeatOfARemovedInstanceDoesNotBringItBack(t *testing.T) {
	m := start(t)
	address := listen(t)
	body := func(generation int) string {
		return fmt.Sprintf(`{"id":"pets-1","url":"http://%s","generation":%d}`, address, generation)
	}
	r := m.mustRegister("pets", body(0))
	if err := m.call("admin", "RemoveInstance", `{"id":"pets-1"}`, nil); err != nil {
		t.Fatal(err)
	}
	for _, restart := range []bool{false, true} {
		if restart {
			m.restart()
		}
		_, err := m.register("pets", body(r.Generation))
		wantKind(t, err, errs.Conflict)
		if _, there := m.find("pets-1"); there {
			t.Fatal("the heartbeat brought it back")
		}
	}
	again := m.mustRegister("pets", body(0))
	if again.Generation <= r.Generation {
		t.Errorf("the generation after the removal is %d, before it %d", again.Generation, r.Generation)
	}
	_, err := m.register("pets", body(r.Generation))
	wantKind(t, err, errs.Conflict)
}

func TestOneSlugHasAtMost1000Instances(t *testing.T) {
	m := start(t)
	var wg sync.WaitGroup
	var refused atomic.Int32
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < 1010; i += 8 {
				_, err := m.register("pets", fmt.Sprintf(`{"url":"http://127.2.%d.%d:80"}`, i/250, i%250+1))
				if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind == errs.TooMany && e.RetryAfter > 0 {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(m.list("pets", "{}")); n != 1000 || refused.Load() != 10 {
		t.Errorf("there are %d instances, and %d were refused", n, refused.Load())
	}
}

func splitAddress(t *testing.T, address string) (host string, port int) {
	t.Helper()
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(p); err != nil {
		t.Fatal(err)
	}
	return host, port
}
