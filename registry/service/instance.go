package service

import (
	"maps"
	"slices"
	"time"

	"micromesh/pkg/routing"
)

// Instance is a running process of a service, at one URL.
type Instance struct {
	ID            string
	Slug          string // the owner
	URL           routing.URL
	Host, IP      string // as they were registered, or taken from the URL
	DeploymentID  string
	HealthPath    string // of the check; empty checks that the port accepts connections
	Metadata      map[string]string
	Tags          []string
	Generation    int32
	NodeURL       string
	CreatedAt     time.Time
	LastHeartbeat time.Time

	Beats  bool // its registrations are heartbeats: it is kept for a lease after the last
	Proves bool // its last registration was of version 2: it has a key to prove its address by
	Proved bool // its address has proved itself, and must from now on
	Vacant bool // its address refused connections for so long since its last registration that others may have it

	Status  routing.Status
	Details string    // why the status is what it is, for the owner
	Since   time.Time // of the status
}

// same tells whether a registration says what is known already.
func (in Instance) same(other Instance) bool {
	return in.URL == other.URL && in.Host == other.Host && in.IP == other.IP && in.DeploymentID == other.DeploymentID &&
		in.HealthPath == other.HealthPath && in.Proves == other.Proves && maps.Equal(in.Metadata, other.Metadata) && slices.Equal(in.Tags, other.Tags)
}

// RPCNode is a node of an RPC service, or of a gateway. Such services don't register here; the registry sees them in
// discovery.
type RPCNode struct {
	ID, Service, Address string
	HTTP                 bool // it doesn't speak RPC
	NATS                 bool // its address is a subject
	Foreign              bool // it did not register, but was found
	Metadata             map[string]string
}

// Health is what a check found.
type Health struct {
	Status  routing.Status // Healthy, Degraded, Unreachable or Error
	Details string         // one line for the owner; never an answer's body

	Refused  bool   // connections are refused
	Answered bool   // a request for a proof was answered, with or without one
	Proofs   []bool // which of the keys that were asked for the address has
}
