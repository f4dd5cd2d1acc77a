// Package discovery tells where RPC services run.
//
// [Registry] is go-micro's registry.Registry on one JetStream KV bucket: a store, not a survey. Every process writes the
// nodes that it runs under a key of their own, refreshes them within their lease, and watches the whole bucket into an
// immutable [Snapshot] from which every question is answered without a request. What that buys:
//
//   - The last known good answer outlives an outage of NATS, however long: while the watch is away nothing expires, and
//     a node that is missing when the watch is back has one more lease to write itself again. Only its own
//     deregistration takes it out at once.
//   - Leases are counted on our own monotonic clock, from the moment at which a refresh was seen, so no clock has to
//     agree with another. Before a node is dropped, the bucket is asked whether we only missed its refresh.
//   - "Not found" is said only by a registry that has seen the whole bucket at least once.
//
// [Selector] chooses among a service's nodes: the better of two random ones, by calls in flight and latency, leaving out
// those that can't be reached.
package discovery
