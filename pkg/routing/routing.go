// Package routing holds the shapes of the state that leads requests: what registry-svc says of instances, and the
// table that proxy-svc makes of it for gateways.
package routing

import (
	"encoding/json"
	"time"

	"micromesh/pkg/kv"
)

// Status is what the mesh last saw of an instance.
type Status string

// The statuses of the HTTP API.
const (
	Unknown     Status = "Unknown"     // not checked yet
	Healthy     Status = "Healthy"     // it answers
	Degraded    Status = "Degraded"    // it answers slowly
	Unreachable Status = "Unreachable" // it does not answer
	Error       Status = "Error"       // it answers that it is not well
)

// Live tells whether requests may be sent to an instance of this status.
func (s Status) Live() bool { return s == Unknown || s == Healthy || s == Degraded }

// Instance is an entry of the bucket [kv.Instances], under [InstanceKey].
type Instance struct {
	ID     string    `json:"id"`
	Slug   string    `json:"slug"`
	URL    string    `json:"url"` // canonical
	Status Status    `json:"status"`
	Since  time.Time `json:"since,omitzero"` // of the status

	Generation int32 `json:"generation,omitempty"` // raised with each change of the instance itself
}

// Slug is an entry of the bucket [kv.Routing], under [SlugKey]: where a slug leads. A slug without instances has none.
type Slug struct {
	Slug      string   `json:"slug"`
	Instances []Target `json:"instances"`
}

// Target is an instance as a gateway sees it.
type Target struct {
	ID     string `json:"id"`
	URL    string `json:"url"`
	Status Status `json:"status"`
}

// HostRoute is an entry of the bucket [kv.Routing], under [HostKey]: where a host, or a path below it, leads.
type HostRoute struct {
	ID     string `json:"id"`     // "host" or "host/path"
	Target string `json:"target"` // URL
}

// InstanceKey is an instance's key in [kv.Instances].
func InstanceKey(slug, id string) string { return kv.Key(slug) + "." + kv.Key(id) }

const (
	slugPrefix = "slug."
	hostPrefix = "host."
)

// SlugKey is a slug's key in [kv.Routing].
func SlugKey(slug string) string { return slugPrefix + kv.Key(slug) }

// HostKey is a host route's key in [kv.Routing].
func HostKey(id string) string { return hostPrefix + kv.Key(id) }

// Entry is one entry of [kv.Routing]: exactly one field is set.
type Entry struct {
	Slug *Slug
	Host *HostRoute
}

// DecodeEntry reads an entry of [kv.Routing].
func DecodeEntry(key string, value []byte) (Entry, error) {
	var e Entry
	if len(key) > len(hostPrefix) && key[:len(hostPrefix)] == hostPrefix {
		e.Host = &HostRoute{}
		return e, json.Unmarshal(value, e.Host)
	}
	e.Slug = &Slug{}
	return e, json.Unmarshal(value, e.Slug)
}

// Await is what a gateway waits for before it passes an answer on, so that whoever registered something finds it at
// once where the answer came from. It travels in the gRPC trailer [AwaitTrailer].
type Await struct {
	Slug     string `json:"slug,omitempty"`
	Instance string `json:"instance,omitempty"` // id
	Host     string `json:"host,omitempty"`     // a host route's id
	Target   string `json:"target,omitempty"`   // the host route's target, or the instance's URL
	Gone     bool   `json:"gone,omitempty"`     // it must no longer be there
}

// AwaitTrailer is the gRPC trailer that carries a list of [Await] as JSON.
const AwaitTrailer = "mesh-await"
