// Package stock brings in services that were written with plain go-micro and find each other by its NATS registry: a survey, in
// which everybody asks everybody, and whoever runs answers. What answers is put into the mesh's discovery, as it registered itself,
// marked as found this way.
//
// That protocol has no errors, no leases, and trusts whoever publishes. So a node is dropped only after it has not answered several
// questions in a row that certainly were asked; an outage of NATS asks none. How much is taken in is bounded, and names and addresses
// of the mesh itself are refused.
//
// The protocol is that of go-micro v5.30.0's registry/nats: on micro.nats.query a registry.Result as JSON whose action is "list" is
// answered, to its reply subject, with a registry.Service each; on micro.nats.watch each registration ("create") and
// deregistration ("delete") is told as a registry.Result.
package stock
