// Package service is the gateway's domain: the routing table in memory, the choice of an instance, and what is learned
// from each request about the instances.
//
// Nothing here waits: a request finds its way through maps that are replaced whole when the table changes.
package service
