package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
)

// Main runs a program, as a parent or in a role, until it is done or interrupted.
func Main(run func(ctx context.Context, args []string, out io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// Obey is a role that says hello, and then does what it is ordered until its parent lets it go.
func Obey(hello any, do func(order string) (answer any, err error)) error {
	say := json.NewEncoder(os.Stdout)
	if err := say.Encode(hello); err != nil {
		return err
	}
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		answer, err := do(orders.Text())
		if err != nil {
			return err
		}
		if err := say.Encode(answer); err != nil {
			return err
		}
	}
	return orders.Err()
}

// Ready is the same for a role that takes no orders.
func Ready(hello any) error {
	return Obey(hello, func(order string) (any, error) { return nil, fmt.Errorf("this role takes no order %q", order) })
}

// Server is what Listen serves with: an http.Server, or this project's.
type Server interface {
	Serve(ln net.Listener) error
	Shutdown(ctx context.Context) error
}

// Listen is the role of a server on loopback, whose hello is its address.
func Listen(ctx context.Context, s Server) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	err = Ready(ln.Addr().String())
	select {
	case failed := <-ended: // before it was told to
		return errors.Join(err, failed)
	default:
	}
	ctx, stop := context.WithCancel(ctx)
	stop() // nobody waits for answers any more
	_ = s.Shutdown(ctx)
	<-ended
	return err
}
