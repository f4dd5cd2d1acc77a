// Package embedded runs a NATS server inside the process, where none is wanted beside it.
package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server with JetStream in this process. Unless an option says so it listens nowhere: connections are in process.
//
// It has two accounts. The mesh's own has JetStream and takes logins alone: this process's, and those that options add.
// Whoever connects without a login is in the account for guests, which has no JetStream and sees nothing of the other.
type Server struct {
	srv       *server.Server
	log       *slog.Logger
	password  string // of this process's own login
	jetStream server.JetStreamConfig
	stop      func() // ends healing, and waits for it
}

const (
	ownLogin      = "mesh"
	ownInboxes    = "_INBOX_mesh" // no other login may listen to them
	guestsAccount = "guests"
)

// Start starts a server that keeps its streams in dir, and waits until it takes connections.
func Start(dir string, log *slog.Logger, opts ...Option) (*Server, error) {
	guests := server.NewAccount(guestsAccount)
	s := &Server{log: log, password: rand.Text(), stop: func() {}}
	own, err := hashed(s.password)
	if err != nil {
		return nil, err
	}
	guest, err := keyOfNobody()
	if err != nil {
		return nil, err
	}
	o := &server.Options{
		ServerName: "micromesh", DontListen: true, JetStream: true, StoreDir: dir,
		NoSigs: true, MaxPayload: 8 << 20, JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 8 << 30,
		NoSystemAccount: false,
		Accounts:        []*server.Account{guests},
		Users:           []*server.User{{Username: ownLogin, Password: own}},
		Nkeys:           []*server.NkeyUser{{Nkey: guest, Account: guests, Permissions: guestMay()}},
		NoAuthUser:      guest,
	}
	for _, opt := range opts {
		if err := opt(o); err != nil {
			return nil, err
		}
	}
	if s.srv, err = server.NewServer(o); err != nil {
		return nil, fmt.Errorf("configure NATS server: %w", err)
	}
	s.srv.SetLoggerV2(natsLogger{log}, false, false, false)
	go s.srv.Start()
	if !s.srv.ReadyForConnections(10 * time.Second) {
		s.srv.Shutdown()
		return nil, errors.New("start NATS server: it was not ready within 10 s")
	}
	// With accounts beside it the global one, where the streams have always been, has JetStream only when it is told so.
	if err := s.srv.GlobalAccount().EnableJetStream(nil, nil); err != nil {
		s.Stop()
		return nil, fmt.Errorf("enable JetStream: %w", err)
	}
	s.jetStream = *s.srv.JetStreamConfig()
	s.jetStream.StoreDir = dir // without the folder that the server adds
	ended, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); s.heal(ended) }()
	s.stop = sync.OnceFunc(func() { close(ended); <-done })
	return s, nil
}

// guestMay leaves out what the server itself answers, to accounts without JetStream too.
func guestMay() *server.Permissions {
	own := &server.SubjectPermission{Deny: []string{"$JS.>", "$SYS.>", "mesh.login.>"}} // guests of this server have no logins
	return &server.Permissions{Publish: own, Subscribe: own}
}

// Option makes a connection go to this server as this process's own, whatever its URL says.
func (e *Server) Option() nats.Option {
	return func(o *nats.Options) error {
		for _, opt := range []nats.Option{nats.InProcessServer(e.srv), nats.UserInfo(ownLogin, e.password), nats.CustomInboxPrefix(ownInboxes)} {
			if err := opt(o); err != nil {
				return err
			}
		}
		return nil
	}
}

// Addr is where the server listens; nil where it does not.
func (e *Server) Addr() net.Addr { return e.srv.Addr() }

// Stop stops the server and waits until its streams are on disk.
func (e *Server) Stop() {
	e.stop()
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
