// Package service is the registry's domain: which instances run, whose they are and how they are; definitions of
// services; nodes.
//
// The database is the truth of what is registered. How it is doing changes all the time, and is kept in memory: a
// heartbeat touches one counter, and reaches the database with those of all others some seconds later.
//
// Any number of registries serve a mesh, on one database. Each answers everything; what one has changed the others read
// from the database as soon as they are told, and all of it now and then. Each checks and expires its own share of the
// instances. The database lets no URL have two owners, and nothing expires that any of them has heard of.
package service

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"micromesh/pkg/routing"
)

// Store keeps what must survive. Each change and the event that tells of it are one transaction.
type Store interface {
	// Instances gives all instances.
	Instances(ctx context.Context) ([]Instance, error)
	// Find gives the instances with these ids, and the one at a URL where it isn't empty.
	Find(ctx context.Context, ids []string, url string) ([]Instance, error)
	// Pulses gives what changes all the time of all instances.
	Pulses(ctx context.Context) ([]Pulse, error)
	// Add inserts an instance and gives it as it is stored: with the generation that follows that of an earlier one at
	// the same URL or of the same id, and where it has no id, with the earlier one's or a new one. known is the
	// generation that the caller knows, or 0. over is the instance that it displaces, or nil.
	//
	// Errors: Conflict where the URL has an owner already or known is older than a removal, and ErrChanged where the owner
	// has an instance with the URL or the id already, or what is displaced has changed; Forbidden where the id is another
	// account's.
	Add(ctx context.Context, in Instance, known int32, over *Displaced, event func(Instance) Event) (Instance, error)
	// Replace stores another version of an instance, of which the stored one has the generation before. over is the instance that
	// it displaces, or nil.
	//
	// Errors: Conflict where the URL has an owner already; ErrChanged where the stored instance isn't the one that is
	// replaced, or what is displaced has changed.
	Replace(ctx context.Context, in Instance, over *Displaced, events []Event) error
	// Remove deletes an instance and remembers its generation, raised so that heartbeats of the removed one don't bring it
	// back. It is no error if its owner has none with the id; then the events are not told.
	Remove(ctx context.Context, id, slug string, at time.Time, events []Event) error
	// Expire deletes an instance of which no other heartbeat is stored than the one that is known, and remembers its
	// generation as it is. It tells whether it did.
	Expire(ctx context.Context, in Instance, known, at time.Time, events []Event) (bool, error)
	// SaveStatuses stores what was last seen of instances; those that are gone are passed over.
	SaveStatuses(ctx context.Context, in []Instance, events []Event) error
	// SaveHeartbeats stores the last heartbeat of instances, and which of all instances have turned out to beat.
	SaveHeartbeats(ctx context.Context, ids []string, at time.Time, beating []string) error
	// Forget drops what is remembered of instances that were removed before a time.
	Forget(ctx context.Context, before time.Time) error

	// SaveDefinition creates or replaces a definition.
	SaveDefinition(ctx context.Context, d Definition, event Event) error
	// DeleteDefinition deletes a definition. Errors: NotFound.
	DeleteDefinition(ctx context.Context, id string, event Event) error
	// Definitions gives all definitions by id.
	Definitions(ctx context.Context) ([]Definition, error)
	// Defined reports whether there is a definition with an id.
	Defined(ctx context.Context, id string) (bool, error)

	// SaveNode creates or replaces a node.
	SaveNode(ctx context.Context, n Node) error
	// DeleteNode deletes a node. Errors: NotFound.
	DeleteNode(ctx context.Context, url string) error
	// Nodes gives the nodes with these ids, or all where none is named, by id.
	Nodes(ctx context.Context, ids []string) ([]Node, error)
}

// Checker looks how an instance is.
type Checker interface {
	Check(ctx context.Context, url routing.URL, healthPath string) Health
	// Prove is Check over a new connection, and asks the address for a proof by each of the keys.
	Prove(ctx context.Context, url routing.URL, healthPath string, keys ...[]byte) Health
}

// Board is where everybody looks up instances.
type Board interface {
	// Changed tells that an instance was added, has changed, or is gone. It returns at once.
	Changed(slug, id string)
	// Displaced is Changed for an instance that has left its URL to another: others learn of the new one later.
	Displaced(slug, id string)
}

// Peers are the registries on the same database.
type Peers interface {
	// Mine tells whether this registry is the one that does a piece of work, such as to look after the instance with an id.
	Mine(piece string) bool
	// Alone tells whether there is no other.
	Alone() bool
	// Tell tells the others that instances have changed in the database. It returns at once; what doesn't arrive, they
	// find out by themselves.
	Tell(ids ...string)
	// Hears reports whether registrations can reach this registry.
	Hears() bool
}

// Nodes tells which RPC services run.
type Nodes interface {
	RPCNodes() []RPCNode
}

// Network decides which addresses instances may have.
type Network interface {
	// Addr returns the reason why no instance may have an IP address, or nil.
	Addr(a netip.Addr) error
	// Reserved reports whether "host:port" is an address of the mesh itself.
	Reserved(hostPort string) bool
}

// Config of the domain. All durations must be positive.
type Config struct {
	Lease         time.Duration // how long an instance that beats is kept after its last registration
	CheckInterval time.Duration // between health checks of one instance
	MaxInstances  int           // of one slug
	Logger        *slog.Logger
	Now           func() time.Time
	// Key returns the key by which the address of an account's instance proves itself. All registries have the same.
	Key func(slug, url string) []byte
}

// Service is the registry. Its methods are safe for concurrent use.
type Service struct {
	cfg     Config
	store   Store
	checker Checker
	board   Board
	nodes   Nodes
	peers   Peers
	network Network
	started time.Time

	fleet  fleet
	checks schedule

	// Changes of one id, and of what is at one URL, come one after the other, so that memory follows the database in
	// order. They share locks by their hash.
	locks locks

	company atomic.Int64 // when there was another registry last: elapsed
	order   atomic.Int64 // counts additions and readings, to tell which came first

	beating  atomic.Int64 // instances that beat
	suspects atomic.Int64 // of them, those whose lease may soon end
	hearing  atomic.Int64 // since when registrations reach this registry: elapsed
	awake    atomic.Int64 // when this process was seen to run last: elapsed
	frozen   atomic.Bool  // so many that it is rather us who are cut off

	orphans orphans

	statuses dirty // whose status is not stored yet
	// Held while statuses are being stored, and shared by whoever stores another event of an instance: events of one
	// instance are told in their order.
	telling sync.RWMutex
}

// New makes a registry with the instances of its store. Every lease begins anew.
//
// Errors: Unavailable.
func New(ctx context.Context, cfg Config, st Store, checker Checker, board Board, nodes Nodes, peers Peers, network Network) (*Service, error) {
	s := &Service{
		cfg: cfg, store: st, checker: checker, board: board, nodes: nodes, peers: peers,
		network: network, started: cfg.Now(), locks: newLocks(), orphans: newOrphans(),
	}
	s.fleet.init()
	s.checks.init()
	all, err := st.Instances(ctx)
	if err != nil {
		return nil, err
	}
	for _, in := range all {
		s.welcome(in, rand.N(cfg.CheckInterval))
	}
	return s, nil
}

// elapsed is the time on a clock that never jumps.
func (s *Service) elapsed() int64 { return int64(s.cfg.Now().Sub(s.started)) }
