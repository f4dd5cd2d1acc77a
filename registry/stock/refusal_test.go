package stock_test

import (
	"fmt"
	"strings"
	"testing"

	"go-micro.dev/v5/registry"
)

// Refuse implements stock.Refusals.
func (d *directory) Refuse(name, why string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused[name] = why
	return nil
}

// Allow implements stock.Refusals.
func (d *directory) Allow(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.refused, name)
	return nil
}

func (d *directory) why(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused[name]
}

// many is a service that describes itself in about so many bytes.
func many(name string, size int) *registry.Service {
	s := service(name, name+"-1", "127.0.0.1:9001")
	for i := 0; size > 0; i++ {
		e := &registry.Endpoint{Name: fmt.Sprintf("Users.Method%d", i), Request: &registry.Value{Name: "Request"}}
		for j := range 200 {
			e.Request.Values = append(e.Request.Values, &registry.Value{Name: fmt.Sprintf("field%d", j), Type: strings.Repeat("x", 50)})
		}
		s.Endpoints = append(s.Endpoints, e)
		size -= 200 * 85
	}
	return s
}

func TestAServiceWithManyMethodsComesIn(t *testing.T) {
	b := start(t)
	r, _ := b.registry(t)
	register(t, r, many("large", 900_000))
	eventually(t, "it came in", func() bool { return b.node("large", "large-1") != nil })
	register(t, r, many("larger", 2_000_000))
	eventually(t, "the other is refused by its name", func() bool { return strings.Contains(b.why("larger"), "at most 1048576") })
}

// Each refused service has its reason, for as long as it is heard of.
func TestRefusalsArePublishedWhileTheyHold(t *testing.T) {
	b := start(t)
	b.owned.Store("joe", true)
	r, kill := b.registry(t)
	other, _ := b.registry(t)
	for reason, s := range map[string]*registry.Service{
		"the name is an account's":   service("joe", "joe-1", "127.0.0.1:9001"),
		"slug of the mesh's own":     service("user-svc", "user-1", "127.0.0.1:9001"),
		"not HOST:PORT":              service("nowhere", "nowhere-1", "0.0.0.0:9001"),
		"one of the mesh itself":     service("inside", "inside-1", "127.0.0.1:8080"),
		"on which no gateway calls":  onNATS("by-nats", "_INBOX.abc"),
		"no subject of its own":      onNATS("shared", "micro.nats.watch"),
		"is no subject of its own: ": onNATS("wild", "_INBOX.*"),
	} {
		register(t, r, s)
		eventually(t, s.Name+" is refused: "+reason, func() bool { return strings.Contains(b.why(s.Name), reason) })
		if n := b.logs.Count("name=" + s.Name + " "); n != 1 {
			t.Errorf("%s was logged %d times", s.Name, n)
		}
	}
	b.owned.Delete("joe")
	register(t, other, service("fine", "fine-1", "127.0.0.1:9003"))
	eventually(t, "joe came in once nobody had the name", func() bool { return b.node("joe", "joe-1") != nil })
	eventually(t, "the refusal is taken back", func() bool { return b.why("joe") == "" })
	kill()
	eventually(t, "all are taken back", func() bool { b.directory.mu.Lock(); defer b.directory.mu.Unlock(); return len(b.refused) == 0 })
}

func onNATS(name, subject string) *registry.Service {
	s := service(name, name+"-1", subject)
	s.Nodes[0].Metadata = map[string]string{"transport": "nats", "protocol": "mucp"}
	return s
}
