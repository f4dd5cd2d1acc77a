package http1

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"micromesh/gateway/http1/wire"
)

// Target is where a request is forwarded to.
type Target struct {
	Address    string // host:port to dial
	TLS        bool
	ServerName string // that the certificate must be for; the host of Address by default
	Host       string // to be sent as Host; the client's by default
	Operator   bool   // an operator named the address, not an account. Connections are not shared with other targets
	PathPrefix string // put in front of the request's path; "" or a path without a slash at its end
}

// ParseTarget reads a target from a URL such as http://10.0.0.7:8080/base. Its path becomes the prefix; it must be one
// that the server would take in a request. A query, a fragment or a user make it fail.
func ParseTarget(rawURL string) (Target, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Target{}, errors.New("parse the target: it is not a URL") // err repeats the URL, and a password in it
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return Target{}, errors.New("parse the target: the scheme must be http or https")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return Target{}, errors.New("parse the target: only a scheme, a host, a port and a path are possible")
	case !wire.ValidHost([]byte(u.Host)):
		return Target{}, errors.New("parse the target: the host is malformed")
	}
	prefix := strings.TrimRight(u.EscapedPath(), "/")
	if err := wire.CheckPath([]byte(prefix + "/")); err != nil {
		return Target{}, fmt.Errorf("parse the target: %w", err)
	}
	t := Target{TLS: u.Scheme == "https", ServerName: u.Hostname(), PathPrefix: prefix}
	port := u.Port()
	switch {
	case port == "" && t.TLS:
		port = "443"
	case port == "":
		port = "80"
	}
	t.Address = net.JoinHostPort(u.Hostname(), port)
	return t, nil
}

// ForwardOptions are what may differ from one call of Forward to the next. Zero durations mean what the Upstreams were
// configured with.
type ForwardOptions struct {
	HeaderTimeout time.Duration // from the end of the request to the end of the answer's head
	StreamTimeout time.Duration // between two bits of the answer's body
	TunnelTimeout time.Duration // without a byte in either direction
	// Caller identifies a signed-in caller, whose credentials were verified. Connections that have carried a body of this
	// caller's serve its later requests. An anonymous caller is known by its connection.
	Caller string
	// KeepTunnel, if not nil, is asked whether a tunnel may stay open, for credentials that expire: as often as
	// UpstreamsConfig.TunnelCheck says, or every quarter of TunnelTimeout if that is less. It may be called concurrently.
	KeepTunnel func() bool
	// KeepStream, if not nil, is asked whether an answer whose body takes long may go on, as often as UpstreamsConfig.TunnelCheck says.
	// If not, the client's connection is closed.
	KeepStream func(x *Exchange) bool
	// Watch, if not nil, is asked now and then while nothing of an answer has come to a request whose method is safe
	// (RFC 9110 section 9.2.1) and that was sent whole. It must be safe for concurrent use.
	Watch Watch
	// Record, if not nil, is told the answer as the client gets it. Whoever forwards knows by the outcome whether that was all of it.
	Record Recorder
}

// Recorder takes note of an answer. What it is given is valid during the call alone.
type Recorder interface {
	// Head is called once, before any Data. Fields are the upstream's, those for one hop left out.
	Head(status int, fields func(yield func(name, value []byte) bool))
	// Data is a piece of the body, without any framing.
	Data(b []byte)
}

// Watch knows how an upstream has done lately.
type Watch interface {
	// Abandon tells whether a request that was sent at a time, and waits, is better sent elsewhere now: its result is then
	// TimedOut, and Abandoned.
	Abandon(sent, now time.Time) bool
}

// Result says how forwarding went.
type Result uint8

// The results. Only with Answered has the client got an answer; with Broken it has got part of one.
const (
	Answered      Result = iota // the client has the whole answer, or the tunnel has ended
	BadRequest                  // the client's body is malformed, too large or too slow: pass Err to Exchange.Refuse
	ConnectFailed               // there was no connection to the upstream
	Closed                      // the upstream closed the connection instead of answering
	TimedOut                    // the answer's head did not come in time
	BadAnswer                   // what came is not a proper HTTP/1.1 answer
	Broken                      // the answer broke off; the client's connection breaks, too
	ClientGone                  // the client went away
)

// String names the result, for logs and metrics.
func (r Result) String() string {
	return [...]string{
		"answered", "bad_request", "connect_failed", "closed", "timed_out", "bad_answer", "broken", "client_gone",
	}[r]
}

// Outcome tells what became of a forwarded request.
type Outcome struct {
	Result Result
	Status int   // of the answer, as soon as there was one
	Err    error // why the result isn't Answered. It may name addresses: not for clients
	// Retryable says that the same request may be forwarded again, to another target: nothing of an answer was written, the
	// body can be sent once more, and either nothing was sent or doing it twice is as good as once.
	Retryable bool
	Abandoned bool          // the Watch has said so
	FirstByte time.Duration // from sending the request to the first byte of the answer
	Reused    bool          // the connection to the upstream had served before
}
