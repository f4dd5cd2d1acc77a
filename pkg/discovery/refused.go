package discovery

import (
	"strings"

	"go-micro.dev/v5/registry"
)

// RefusedFor is the metadata of a program that was found and can't join: the reason.
const RefusedFor = "refused"

// refusals is the service in whose nodes such programs are kept, by their names. No program can have its name. It is not among Services.
const refusals = "$refused"

func refusal(name, why string) *registry.Service {
	return &registry.Service{Name: refusals, Nodes: []*registry.Node{{
		Id: name, Address: "none:0", Metadata: map[string]string{Via: ViaStock, "transport": "none", RefusedFor: why},
	}}}
}

// Refuse publishes the reason why a program that was found under a name can't join, until Allow is called or this process ends. Errors:
// those of Register.
func (r *Registry) Refuse(name, why string) error { return r.Register(refusal(name, why)) }

// Allow takes back what Refuse published. Errors: those of Deregister.
func (r *Registry) Allow(name string) error { return r.Deregister(refusal(name, "")) }

// Refused returns the reason why a program of a name can't join, or nothing.
func (r *Registry) Refused(name string) string { return r.Refusals()[name] }

// Refusals returns the programs that were found and can't join, with the reasons, by name.
func (r *Registry) Refusals() map[string]string {
	s := r.snapshot.Load().services[refusals]
	if s == nil {
		return nil
	}
	out := make(map[string]string, len(s.Nodes))
	for _, n := range s.Nodes {
		out[n.ID] = n.Metadata[RefusedFor]
	}
	return out
}

// hidden reports whether a name is no service's.
func hidden(service string) bool { return strings.HasPrefix(service, "$") }
