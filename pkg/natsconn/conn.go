// Package natsconn connects to NATS so that an outage of any length ends well.
package natsconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Config of a connection.
type Config struct {
	URL    string // "nats://host:port", several with commas
	Name   string // of the client, for the server's monitoring
	Logger *slog.Logger
	Extra  []nats.Option // credentials, TLS, in-process server
	Later  bool          // a server that is not there yet is connected to once it is, and nobody waits for it
}

// quiet is how long an error that comes again and again is not logged anew: a login that is refused is tried ten times a second.
const quiet = 10 * time.Second

// Connect connects, waiting until ctx ends for a server that is not there yet, or doesn't know the login yet, unless that may be
// later. Once connected it reconnects for ever: nats.go's own default gives up after 60 tries, and when the same server has refused
// the login twice, which it may know again after its secrets were read. A dead peer is noticed within 6 s.
func Connect(ctx context.Context, cfg Config) (*nats.Conn, error) {
	log := cfg.Logger
	awaits := once(func(err error) {
		if errors.Is(err, nats.ErrAuthorization) {
			log.Warn("nats_awaited", "error", err, "hint", "the server does not know this login: check MICRO_NATS_USER and MICRO_NATS_PASSWORD_FILE, and that the server has read its users.conf")
			return
		}
		log.Warn("nats_awaited", "error", err)
	})
	errs := once(func(err error) { log.Warn("nats_error", "error", err) })
	opts := append([]nats.Option{
		nats.Name(cfg.Name),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(2 * time.Second),
		nats.RetryOnFailedConnect(true),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats_disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("nats_reconnected") }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { awaits(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs(err) }),
	}, cfg.Extra...)
	nc, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if cfg.Later {
		return nc, nil
	}
	if err := waitConnected(ctx, nc); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// once leaves out an error that was told a moment ago, as those of several servers in turn.
func once(tell func(error)) func(error) {
	const most = 100 // that are remembered
	var mu sync.Mutex
	told := map[string]time.Time{}
	return func(err error) {
		mu.Lock()
		at, ok := told[err.Error()]
		again := ok && time.Since(at) < quiet
		if !again {
			if len(told) == most {
				clear(told)
			}
			told[err.Error()] = time.Now()
		}
		mu.Unlock()
		if !again {
			tell(err)
		}
	}
}

func waitConnected(ctx context.Context, nc *nats.Conn) error {
	ch := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(ch)
	if nc.IsConnected() {
		return nil
	}
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("connect to NATS: no server answers"), nc.LastError())
	}
}
