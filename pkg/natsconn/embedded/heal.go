package embedded

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	look           = 2 * time.Second  // between two looks at how it is
	confirm        = 1 * time.Second  // after which a problem must still be there
	lastRetry      = 30 * time.Second // between two times that the streams are opened again in vain
	maxConnections = 100_000
	room           = 1 << 20 // bytes that the disk must take before they are
)

// heal opens the streams again after one couldn't be written, as on a disk that was full, until stop is closed: a server that has
// failed to write a stream refuses to for as long as it has it open, since it can't know what has reached the disk.
func (e *Server) heal(stop <-chan struct{}) {
	wait, next := look, time.Time{}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		ill := e.srv.Healthz(&server.HealthzOptions{}).Error
		if ill == "" {
			wait = look
			continue
		}
		select { // a stream that is being made or deleted is ill for a moment, too
		case <-time.After(confirm):
		case <-stop:
			return
		}
		if ill = e.srv.Healthz(&server.HealthzOptions{}).Error; ill == "" {
			continue
		}
		if time.Now().Before(next) || !e.hasRoom() {
			continue
		}
		if err := e.reopen(); err != nil {
			e.log.Error("streams_not_opened", "problem", ill, "error", err)
		} else {
			e.log.Warn("streams_opened_again", "problem", ill)
		}
		wait = min(2*wait, lastRetry)
		next = time.Now().Add(wait)
	}
}

// hasRoom tells whether the disk takes what is written.
func (e *Server) hasRoom() bool {
	f, err := os.CreateTemp(e.jetStream.StoreDir, ".room-")
	if err != nil {
		return false
	}
	_, err = f.Write(make([]byte, room))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())) == nil
}

// reopen closes all streams and opens them, then all connections, as a restart does: so whoever follows a stream begins anew.
func (e *Server) reopen() error {
	if err := e.srv.ShutdownJetStream(); err != nil {
		return fmt.Errorf("close streams: %w", err)
	}
	cfg := e.jetStream // the server changes what it is given
	if err := e.srv.EnableJetStream(&cfg); err != nil {
		return fmt.Errorf("open streams: %w", err)
	}
	if own := e.srv.GlobalAccount(); !own.JetStreamEnabled() {
		if err := own.EnableJetStream(nil, nil); err != nil {
			return fmt.Errorf("open streams: %w", err)
		}
	}
	open, err := e.srv.Connz(&server.ConnzOptions{Limit: maxConnections})
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, c := range open.Conns {
		_ = e.srv.DisconnectClientByID(c.Cid) // it may have left
	}
	return nil
}
