package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
)

// Service is this program as a part of the mesh. Its methods are safe for concurrent use.
type Service struct {
	cfg      Config
	log      *slog.Logger
	account  *account
	keys     *keys
	verifier *auth.Verifier
	answers  *answers

	wg sync.WaitGroup // of what runs in the background

	mu        sync.Mutex
	cancels   []context.CancelFunc // of the same
	instances map[string]string    // ids of what is registered, by URL
	proofKeys map[string][]byte    // by which its address proves itself, by URL
}

// Open signs in with the stored credentials, or registers the account at the first start, and waits for a mesh that
// is away until ctx ends. Close the service in the end; Run does.
//
// Errors: what is wrong with the configuration, all at once; Unauthenticated with code SLUG_TAKEN where the slug is
// somebody else's.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	creds, err := loadCredentials(cfg.Credentials, cfg.Slug)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Logger.With("slug", cfg.Slug)}
	s.account = &account{svc: s, creds: creds}
	s.answers = newAnswers(s)
	s.keys = newKeys(s)
	s.verifier = auth.NewVerifier(s.keys, auth.ForAudience(cfg.Slug))
	if err := s.persist(ctx, "sign in", func() error { _, err := s.Token(ctx); return err }); err != nil {
		return nil, err
	}
	if err := s.persist(ctx, "fetch keys", func() error { return s.keys.fetch(ctx) }); err != nil {
		return nil, err
	}
	s.background(ctx, s.keys.follow)
	return s, nil
}

// background runs f until Close.
func (s *Service) background(ctx context.Context, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.mu.Lock()
	s.cancels = append(s.cancels, cancel)
	s.mu.Unlock()
	s.wg.Go(func() { f(ctx) })
}

// Close ends what Open and Register began: the instances leave the mesh, so that nobody is sent to them any more. Where
// the mesh is away that is all that can be done: an instance leaves when its lease ends.
func (s *Service) Close() error {
	s.mu.Lock()
	cancels := s.cancels
	s.cancels = nil
	s.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	s.wg.Wait()
	s.mu.Lock()
	instances := s.instances
	s.instances = nil
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var wrong []error
	for _, id := range instances {
		wrong = append(wrong, s.leave(ctx, id))
	}
	return errors.Join(wrong...)
}

// leave takes an instance out of the mesh.
func (s *Service) leave(ctx context.Context, id string) error {
	err := s.Call(ctx, http.MethodDelete, "/registry-svc/instance/"+url.PathEscape(id), nil, nil)
	if _, away := passing(err); away {
		s.log.Warn("left_without_a_word", "error", err)
		return nil
	}
	if err != nil && !errs.Is(err, errs.NotFound) {
		return fmt.Errorf("leave the mesh: %w", err)
	}
	return nil
}

// registration is what the registry answers.
type registration struct {
	ID           string
	Generation   int
	LeaseSeconds int
	ProofKey     string
}

// Register makes the URL an instance of this service, and keeps it alive until Close: it registers again every third
// of its lease, which is the heartbeat and brings it back after any outage of the mesh. It waits for a mesh that is
// away until ctx ends. What listens there already should serve Prove.
//
// Errors: Invalid for a URL that no instance may have, Conflict for one that is another account's.
func (s *Service) Register(ctx context.Context, selfURL string) error {
	var reg registration
	beat := func(ctx context.Context) error {
		in := map[string]any{"url": selfURL, "healthPath": s.cfg.HealthPath}
		err := s.register(ctx, in, &reg)
		if key := invited(err); key != "" { // another account has the URL, unless the address proves that it is ours
			s.learnKey(selfURL, key)
			err = s.register(ctx, in, &reg)
		}
		s.learnKey(selfURL, reg.ProofKey)
		return err
	}
	if err := s.persist(ctx, "register instance", func() error { return beat(ctx) }); err != nil {
		return fmt.Errorf("register instance %s: %w", selfURL, err)
	}
	s.registered(selfURL, reg.ID)
	s.background(ctx, func(ctx context.Context) { s.keepAlive(ctx, selfURL, &reg, beat) })
	return nil
}

// register makes the registration's call.
func (s *Service) register(ctx context.Context, in map[string]any, reg *registration) error {
	tok, err := s.Token(ctx)
	if err != nil {
		return err
	}
	return s.send(ctx, http.MethodPut, "/registry-svc/instance", tok, in, reg)
}

func (s *Service) registered(selfURL, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instances == nil {
		s.instances = map[string]string{}
	}
	s.instances[selfURL] = id
}

func (s *Service) keepAlive(ctx context.Context, selfURL string, reg *registration, beat func(context.Context) error) {
	for away := false; ; {
		lease := time.Duration(max(reg.LeaseSeconds, 3)) * time.Second
		wait := lease / 3
		if away {
			wait = min(wait, time.Second)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := beat(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !away {
			s.log.Warn("heartbeat_failed", "error", err)
		}
		if away = err != nil; !away {
			s.registered(selfURL, reg.ID)
		}
	}
}

// Run listens, registers the instance, and serves the handler until ctx ends; then it leaves the mesh first, lets
// requests under way finish, and closes the service.
func (s *Service) Run(ctx context.Context, handler http.Handler) error {
	ln, self, err := s.listen(ctx)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	srv := &http.Server{Handler: s.Prove(handler), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	serving, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	go func() { failed(fmt.Errorf("serve: %w", srv.Serve(ln))) }()
	if err = s.Register(serving, self); err == nil {
		s.log.Info("serving", "url", self, "through", s.cfg.ServerURL+"/"+s.cfg.Slug+"/")
		<-serving.Done()
	}
	if serving.Err() != nil { // Register's error, if any, is but this
		err = nil
		if ctx.Err() == nil {
			err = context.Cause(serving)
		}
	}
	err = errors.Join(err, s.Close())
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, srv.Shutdown(drain))
}

// listen opens the port that the configuration says, and gives the URL that the gateway reaches it under.
func (s *Service) listen(ctx context.Context) (net.Listener, string, error) {
	address := s.cfg.Listen
	if address == "" && s.cfg.SelfURL != "" {
		u, err := url.Parse(s.cfg.SelfURL)
		if err != nil {
			return nil, "", fmt.Errorf("self URL: %w", err)
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		address = ":" + port
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() {
			address = net.JoinHostPort(u.Hostname(), port)
		}
	}
	if address == "" {
		address = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, "", fmt.Errorf("listen: %w", err)
	}
	self := s.cfg.SelfURL
	if self == "" {
		host := "127.0.0.1"
		a := ln.Addr().(*net.TCPAddr)
		if !a.IP.IsUnspecified() {
			host = a.IP.String()
		}
		self = "http://" + net.JoinHostPort(host, strconv.Itoa(a.Port))
	}
	return ln, self, nil
}
