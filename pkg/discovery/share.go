package discovery

import "hash/fnv"

// Mine tells whether, of a service's nodes, the one with an id is to do a piece of work that one of them must do: each
// piece has a node of its own, chosen by rendezvous hashing (Thaler and Ravishankar, 1998), so that when nodes come and
// go only their own share moves. Everybody decides by what discovery tells; while that changes, two may do a piece, or
// none. Where no node is known the caller is alone, and all is its own.
func (r *Registry) Mine(service, node, piece string) bool {
	s := r.Lookup(service)
	if s == nil || len(s.Nodes) == 0 {
		return true
	}
	own, in := score(node, piece), false
	for _, n := range s.Nodes {
		if n.ID == node {
			in = true
			continue
		}
		if other := score(n.ID, piece); other > own || other == own && n.ID > node {
			return false
		}
	}
	return in
}

// score is how much a node is the one for a piece of work, the same in every process.
func score(node, piece string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(node))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(piece))
	x := h.Sum64()
	// FNV's high bits know little of the last bytes: this is the finalizer of MurmurHash3.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
