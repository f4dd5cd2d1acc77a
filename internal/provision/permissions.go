package provision

import (
	"slices"
	"strings"

	"micromesh/pkg/discovery"
	"micromesh/pkg/events"
	"micromesh/pkg/kv"
)

// Permissions are the subjects that a login may publish to and subscribe to, and nothing else.
type Permissions struct {
	Publish, Subscribe []string
}

// Permissions gives what the service needs on NATS: to read the buckets that it watches, to write those that it owns and
// its own RPC nodes, to publish its own events, and to talk with the other processes of the service. It hears nothing
// but that and what is sent to its own inboxes.
//
// Streams are made by those that write to them, so each may create these streams; none may change, delete or purge one.
func (s Service) Permissions() Permissions {
	peers := "mesh." + s.Slug + ".>"
	p := []string{"$JS.API.INFO", peers}
	shared := []string{kv.Nodes, kv.Keys, kv.Permits, kv.Revocations} // what every host watches
	for _, b := range slices.Concat(shared, s.Watches, s.Owns) {
		p = append(p, reads(b)...)
	}
	for _, b := range s.Owns {
		p = append(p, makes(stream(b))...)
		p = append(p, "$KV."+b+".>")
	}
	// The bucket of nodes is made by whoever is first.
	p = append(p, "$JS.API.STREAM.CREATE."+stream(kv.Nodes), "$KV."+kv.Nodes+"."+ownNodes(s.Slug))
	if len(s.Topics) > 0 || s.Tails || len(s.Consumes) > 0 {
		p = append(p, makes(events.Stream)...)
		p = append(p, reads(kv.Schemas)...)
	}
	if len(s.Topics) > 0 { // schemas of its events and of its methods
		p = append(p, makes(stream(kv.Schemas))...)
		p = append(p, makes(stream(kv.Signers))...)
		p = append(p, "$KV."+kv.Schemas+".*", "$KV."+kv.Signers+"."+s.Slug+".*")
		p = append(p, "$JS.API.DIRECT.GET."+stream(kv.Signers)+".$KV."+kv.Signers+"."+s.Slug+".*") // whether its key is still there
	}
	for _, t := range s.Topics {
		p = append(p, events.Subject(t), "dead."+s.Slug) // events that are larger than NATS takes
		p = append(p, makes(events.DeadStream)...)
	}
	if s.Tails {
		p = append(p, reads(kv.Signers)...)
		p = append(p, consumes(events.Stream)...)
		p = append(p, "$JS.API.CONSUMER.MSG.NEXT."+events.Stream+".*")
	}
	if s.Replays {
		p = append(p, makes(events.DeadStream)...)
		p = append(p, consumes(events.DeadStream)...)
		p = append(p, "$JS.API.CONSUMER.MSG.NEXT."+events.DeadStream+".*", "$JS.API.STREAM.MSG.DELETE."+events.DeadStream, "replay.*")
	}
	for _, name := range s.Consumes {
		p = append(p, reads(kv.Signers)...)
		p = append(p, makes(events.DeadStream)...)
		p = append(p, works(events.Stream, name)...)
		p = append(p, works(events.DeadStream, name)...)
		p = append(p, "dead."+name)
	}
	slices.Sort(p)
	return Permissions{Publish: slices.Compact(p), Subscribe: []string{"_INBOX_" + s.Slug + ".>", peers}}
}

// stream is the name of a bucket's stream.
func stream(bucket string) string { return "KV_" + bucket }

// makes is what it takes to create a stream where there is none.
func makes(stream string) []string {
	return []string{"$JS.API.STREAM.CREATE." + stream, "$JS.API.STREAM.INFO." + stream}
}

// reads is what it takes to watch a bucket and to get its keys.
func reads(bucket string) []string {
	return append(consumes(stream(bucket)), "$JS.API.DIRECT.GET."+stream(bucket)+".>")
}

// consumes is what it takes to read a stream in order. Such consumers have random names, so that none can end another's.
func consumes(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.FC." + stream + ".>",
	}
}

// works is what it takes to do the work of a stream under a consumer's name, which stays: nobody else may have it.
func works(stream, consumer string) []string {
	return append(holds(stream, consumer), "$JS.API.STREAM.INFO."+stream)
}

// holds is what is for the holder of a consumer's name alone.
func holds(stream, consumer string) []string {
	name := stream + "." + consumer
	return []string{
		"$JS.API.CONSUMER.CREATE." + name,
		"$JS.API.CONSUMER.CREATE." + name + ".>", // with what is read in the subject, where that is one
		"$JS.API.CONSUMER.INFO." + name,
		"$JS.API.CONSUMER.MSG.NEXT." + name,
		"$JS.API.CONSUMER.UNPIN." + name,
		"$JS.ACK." + name + ".>",
	}
}

// ownNodes are the keys of a service's nodes.
func ownNodes(slug string) string {
	const node = "x"
	return strings.TrimSuffix(discovery.Key(slug, node), node) + "*"
}

// Shared is a login that all services other than the mesh's own may share: what they need whatever their slugs, and nothing of
// what is the mesh's own, which the second gives as what is denied.
func Shared(login string) (allowed, denied Permissions) {
	s := Other(login)
	s.Consumes = []string{"*"}
	allowed = s.Permissions()
	allowed.Publish = append(allowed.Publish, "$KV."+kv.Nodes+".*.*", "$KV."+kv.Signers+".*.*", "mesh.>", events.Subject("*"))
	allowed.Subscribe = append(allowed.Subscribe, "_INBOX.>", "mesh.>")
	for _, own := range Mesh() {
		peers := "mesh." + own.Slug + ".>"
		denied.Publish = append(denied.Publish, "$KV."+kv.Nodes+"."+ownNodes(own.Slug), "$KV."+kv.Signers+"."+own.Slug+".*", peers)
		denied.Subscribe = append(denied.Subscribe, peers)
		for _, t := range own.Topics {
			denied.Publish = append(denied.Publish, events.Subject(t))
		}
		for _, consumer := range slices.Concat(own.Consumes, []string{own.Slug}) {
			denied.Publish = slices.Concat(denied.Publish, holds(events.Stream, consumer), holds(events.DeadStream, consumer), []string{"dead." + consumer})
		}
	}
	return allowed, denied
}
