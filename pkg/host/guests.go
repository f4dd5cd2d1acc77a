package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"

	"github.com/nats-io/nats.go"

	"micromesh/pkg/natsconn"
)

// ConnectGuests connects a service to the NATS server of services in plain go-micro. It doesn't wait for the server. What is answered to
// the service goes to inboxes that such services can't listen to. The scheme tls verifies the server as the mesh's own are.
func (h *Host) ConnectGuests(ctx context.Context, url, service string) (*nats.Conn, error) {
	opts := []nats.Option{nats.CustomInboxPrefix("_INBOX_" + service), nats.ReconnectBufSize(-1)}
	if id := h.Identity(); id != nil && strings.HasPrefix(url, "tls:") {
		opts = append(opts, nats.ClientTLSConfig(
			func() (tls.Certificate, error) { return id.TLS().Certificates[0], nil },
			func() (*x509.CertPool, error) { return id.TLS().RootCAs, nil },
		))
	}
	return natsconn.Connect(ctx, natsconn.Config{URL: url, Name: service + "-stock", Logger: h.Logger.With("service", service), Later: true, Extra: opts})
}
