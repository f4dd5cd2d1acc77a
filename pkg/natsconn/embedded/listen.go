package embedded

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// Option is what Start takes beside the folder.
type Option func(*server.Options) error

// Login is a user of the mesh's own account. What is not allowed is denied, and so is what is denied.
type Login struct {
	Name, Password               string
	Publish, Subscribe           []string
	DenyPublish, DenySubscribing []string
}

// WithLogin lets others into the mesh's own account.
func WithLogin(l Login) Option {
	return func(o *server.Options) error {
		hash, err := hashed(l.Password)
		if err != nil {
			return err
		}
		o.Users = append(o.Users, &server.User{Username: l.Name, Password: hash, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: l.Publish, Deny: l.DenyPublish},
			Subscribe: &server.SubjectPermission{Allow: l.Subscribe, Deny: l.DenySubscribing},
		}})
		return nil
	}
}

// WithListener lets clients in over TCP, at "host:port"; port 0 is one that the system picks. Errors wrap those of net.Listen,
// such as syscall.EADDRINUSE.
func WithListener(ctx context.Context, address string) Option {
	return func(o *server.Options) error {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("read NATS address: %w", err)
		}
		if o.Port, err = strconv.Atoi(port); err != nil {
			return fmt.Errorf("read NATS port: %w", err)
		}
		// The server would only log that it can't listen.
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listen for NATS: %w", err)
		}
		if err := ln.Close(); err != nil {
			return fmt.Errorf("listen for NATS: %w", err)
		}
		o.DontListen, o.Host = false, host
		if o.Port == 0 {
			o.Port = server.RANDOM_PORT
		}
		return nil
	}
}

// hashed is a password as the server takes it without a warning. The passwords are random: a slow hash would only cost time
// with each connection.
func hashed(password string) (string, error) {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return string(h), nil
}

// keyOfNobody is the user of those who connect without a login. The server takes no hashed password for that one, and a plain one
// with a warning; a key of which nobody has the other half is neither.
func keyOfNobody() (string, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return "", fmt.Errorf("make key: %w", err)
	}
	return public, nil
}
