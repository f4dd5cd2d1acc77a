package discovery

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"go-micro.dev/v5/registry"

	"micromesh/pkg/errs"
)

// maxName bounds a service's name and a node's id, so that keys stay far below the limits of NATS subjects.
const maxName = 200

// maxValue bounds a record in bytes: all that a program in plain go-micro may say of itself (1 MiB) fits, with its seal.
const maxValue = 2 << 20

// record is the value of a key: the service as its one node registered it, and how long that holds without a refresh.
type record struct {
	registry.Service
	TTL     int64           `json:"ttl"`               // milliseconds
	Voucher json.RawMessage `json:"voucher,omitempty"` // for the key of a guest's seal
}

// Key is the key under which a service's node is stored: "<service>.<node>", both escaped.
func Key(service, node string) string { return escape(service) + "." + escape(node) }

// parseKey reads what Key wrote.
func parseKey(key string) (service, node string, err error) {
	s, n, ok := strings.Cut(key, ".")
	if !ok {
		return "", "", fmt.Errorf("key %q is not <service>.<node>", key)
	}
	if service, err = unescape(s); err != nil {
		return "", "", err
	}
	if node, err = unescape(n); err != nil {
		return "", "", err
	}
	return service, node, nil
}

const hexDigits = "0123456789ABCDEF"

// plain tells which bytes a KV key shows as they are; '=' begins an escape, '.' parts the two halves.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// unescape is strict: a name has exactly one key.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if plain(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		if s[i] != '=' || i+2 >= len(s) {
			return "", fmt.Errorf("name %q is not escaped", s)
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil || plain(c[0]) || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
			return "", fmt.Errorf("name %q is not escaped", s)
		}
		b.WriteByte(c[0])
		i += 2
	}
	if b.Len() == 0 {
		return "", errors.New("a key has an empty name")
	}
	return b.String(), nil
}

// encode returns the key and the value of one node of a service.
func encode(s *registry.Service, n *registry.Node, ttl time.Duration, voucher []byte) (key string, value []byte, err error) {
	if err := check(s, n); err != nil {
		return "", nil, err
	}
	one := *s
	one.Nodes = []*registry.Node{n}
	value, err = json.Marshal(record{Service: one, TTL: ttl.Milliseconds(), Voucher: voucher})
	if err != nil {
		return "", nil, fmt.Errorf("encode node %s: %w", n.Id, err)
	}
	return Key(s.Name, n.Id), value, nil
}

// decode reads a key's value. Whoever may write to the bucket may write nonsense: what doesn't fit its key is refused.
func decode(key string, value []byte) (*Node, error) {
	service, id, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("decode node %s: %w", id, err)
	}
	if len(r.Nodes) != 1 || r.Nodes[0] == nil || r.Name != service || r.Nodes[0].Id != id {
		return nil, fmt.Errorf("key %q holds another service or node", key)
	}
	if err := check(&r.Service, r.Nodes[0]); err != nil {
		return nil, err
	}
	ttl := time.Duration(r.TTL) * time.Millisecond
	if ttl <= 0 || ttl.Milliseconds() != r.TTL {
		return nil, fmt.Errorf("node %s has no lease", id)
	}
	r.Endpoints = slices.DeleteFunc(r.Endpoints, func(e *registry.Endpoint) bool { return e == nil })
	return newNode(&r.Service, ttl), nil
}

// InboxSubject reports whether a subject is one that NATS clients make up for themselves. Guests on go-micro's NATS transport have such
// addresses. On others, something else may listen.
func InboxSubject(subject string) bool {
	return inbox.MatchString(subject)
}

var inbox = regexp.MustCompile(`^_INBOX\.[A-Za-z0-9_-]{1,100}$`)

func checkSubject(n *registry.Node) error {
	if !InboxSubject(n.Address) {
		return errs.Invalidf("the address of node %s must be _INBOX.…, as NATS clients make it up", n.Id)
	}
	return nil
}

// check tells what is wrong with a node that is to be registered, as an errs.Invalid error.
func check(s *registry.Service, n *registry.Node) error {
	switch {
	case s.Name == "" || len(s.Name) > maxName:
		return errs.Invalidf("a service's name has 1 to %d bytes", maxName)
	case n == nil || n.Id == "" || len(n.Id) > maxName:
		return errs.Invalidf("the id of a node of %s has 1 to %d bytes", s.Name, maxName)
	}
	if n.Metadata[Via] == ViaStock && n.Metadata["transport"] == "nats" {
		return checkSubject(n)
	}
	if _, port, err := net.SplitHostPort(n.Address); err != nil || port == "" {
		return errs.Invalidf("the address of node %s must be host:port", n.Id)
	}
	return nil
}
