package http1

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"micromesh/gateway/http1/wire"
)

// Unlimited switches a limit or a timeout off.
const Unlimited = -1

// Config is what a [Server] works by. Zero values mean the defaults, Unlimited means none.
type Config struct {
	Logger  *slog.Logger // required
	Handler Handler      // required

	// ErrorBody renders the answers that the server makes itself (to malformed requests, say) and those of Exchange.Fail.
	// The exchange may be without a request: then its accessors give nothing. It may set response fields.
	// The default is JSON with "error" and "code".
	ErrorBody func(x *Exchange, status int, code, message string) (contentType string, body []byte)

	// TrustedProxies are the peers whose X-Forwarded-For, -Proto and -Host are believed. All others' are dropped.
	TrustedProxies []netip.Prefix

	MaxRequestLine int   // bytes; 8 KiB. More is answered with 414
	MaxHeaderBytes int   // bytes of the whole head; 128 KiB. More is answered with 431
	MaxHeaders     int   // fields; 128. More is answered with 431
	MaxBodyBytes   int64 // 1 GiB, see Exchange.SetBodyLimit. More is answered with 413
	MaxConns       int   // open connections; 16,384. More are answered with 503

	HeaderTimeout time.Duration // from a request's first byte (or the connection's start) to the end of its head; 10 s
	IdleTimeout   time.Duration // between two requests; 75 s
	BodyTimeout   time.Duration // between two reads of a body; 10 s
	MinBodyRate   int           // bytes a second that a body must bring on average, after 5 s of grace; 240
	WriteTimeout  time.Duration // for the client to take 64 KiB of an answer; 10 s
}

// setDefaults fills in what is zero.
func (c *Config) setDefaults() {
	defaults(&c.MaxRequestLine, 8<<10)
	defaults(&c.MaxHeaderBytes, 128<<10)
	defaults(&c.MaxHeaders, 128)
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = 1 << 30
	}
	defaults(&c.MaxConns, 16384)
	defaults(&c.HeaderTimeout, 10*time.Second)
	defaults(&c.IdleTimeout, 75*time.Second)
	defaults(&c.BodyTimeout, 10*time.Second)
	defaults(&c.MinBodyRate, 240)
	defaults(&c.WriteTimeout, 10*time.Second)
	if c.ErrorBody == nil {
		c.ErrorBody = plainErrorBody
	}
}

// defaults sets what is zero to d, and what is Unlimited to the zero that means so inside of this package.
func defaults[T ~int | ~int64](v *T, d T) {
	switch *v {
	case 0:
		*v = d
	case Unlimited:
		*v = 0
	}
}

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	if c.Logger == nil {
		errs = append(errs, errors.New("logger is missing"))
	}
	if c.Handler == nil {
		errs = append(errs, errors.New("handler is missing"))
	}
	for _, v := range []struct {
		name  string
		value int64
		least int64
	}{
		{"max request line", int64(c.MaxRequestLine), 0},
		{"max header bytes", int64(c.MaxHeaderBytes), 0},
		{"max headers", int64(c.MaxHeaders), 0},
		{"max body bytes", c.MaxBodyBytes, Unlimited},
		{"max connections", int64(c.MaxConns), Unlimited},
		{"header timeout", int64(c.HeaderTimeout), 0},
		{"idle timeout", int64(c.IdleTimeout), Unlimited},
		{"body timeout", int64(c.BodyTimeout), Unlimited},
		{"min body rate", int64(c.MinBodyRate), Unlimited},
		{"write timeout", int64(c.WriteTimeout), Unlimited},
	} {
		if v.value < v.least {
			errs = append(errs, fmt.Errorf("%s is %d; the least is %d", v.name, v.value, v.least))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) limits() wire.Limits {
	return wire.Limits{Line: c.MaxRequestLine, Head: c.MaxHeaderBytes, Fields: c.MaxHeaders}
}
