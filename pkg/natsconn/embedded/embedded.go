// Package embedded runs a NATS server inside the process, where none is wanted beside it.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server with JetStream in this process. It listens nowhere: connections are in process.
type Server struct {
	srv *server.Server
}

// Start starts a server that keeps its streams in dir, and waits until it takes connections.
func Start(dir string, log *slog.Logger) (*Server, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "micromesh", DontListen: true, JetStream: true, StoreDir: dir,
		NoSigs: true, MaxPayload: 8 << 20, JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 8 << 30,
		NoSystemAccount: false,
	})
	if err != nil {
		return nil, fmt.Errorf("configure NATS server: %w", err)
	}
	srv.SetLoggerV2(natsLogger{log}, false, false, false)
	go srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, errors.New("start NATS server: it was not ready within 10 s")
	}
	return &Server{srv}, nil
}

// Option makes a connection go to this server, whatever its URL says.
func (e *Server) Option() nats.Option { return nats.InProcessServer(e.srv) }

// Stop stops the server and waits until its streams are on disk.
func (e *Server) Stop() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

// natsLogger gives the server's messages to slog. Its notices tell how it starts and stops, which nobody asked for.
type natsLogger struct{ log *slog.Logger }

func (l natsLogger) Noticef(f string, v ...any) {
	l.log.Debug("nats_server", "message", fmt.Sprintf(f, v...))
}
func (l natsLogger) Warnf(f string, v ...any) {
	l.log.Warn("nats_server", "message", fmt.Sprintf(f, v...))
}
func (l natsLogger) Fatalf(f string, v ...any) {
	l.log.Error("nats_server", "message", fmt.Sprintf(f, v...))
}
func (l natsLogger) Errorf(f string, v ...any) {
	l.log.Error("nats_server", "message", fmt.Sprintf(f, v...))
}
func (l natsLogger) Debugf(f string, v ...any) {
	l.log.Debug("nats_server", "message", fmt.Sprintf(f, v...))
}
func (l natsLogger) Tracef(string, ...any) {}
