package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	forwarding "micromesh/forwarder/app"
	gateway "micromesh/gateway/app"
	"micromesh/pkg/interrupt"
	"micromesh/pkg/process"
	proxy "micromesh/proxy/app"
	registry "micromesh/registry/app"
	user "micromesh/user/app"
)

// Play plays the role of a process of a cluster, and ends with it, where this program was started as one; otherwise it does
// nothing. TestMain calls it first.
func Play() {
	switch role := os.Getenv(roleEnv); role {
	case "":
		return
	case "nats":
		if err := serveNATS(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		services := map[string]func() process.Service{
			"user": user.Service, "registry": registry.Service, "proxy": proxy.Service, "gateway": gateway.Service, forwarder: forwarding.Service,
		}
		process.Main(services[role]())
	}
	os.Exit(0)
}

// Main is the TestMain of packages that need no other.
func Main(m *testing.M) {
	Play()
	os.Exit(m.Run())
}

// serveNATS is a NATS server that has what it acknowledged on disk.
func serveNATS() error {
	host, port, err := net.SplitHostPort(os.Getenv("NATS_ADDRESS"))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	opts, err := server.ProcessConfigFile(os.Getenv("NATS_CONFIG"))
	if err != nil {
		return err
	}
	opts.Host, opts.Port, opts.NoSigs = host, n, true
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.ConfigureLogger()
	ctx, stop := interrupt.Context(context.Background())
	defer stop()
	go srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		return errors.New("the NATS server was not ready in time")
	}
	<-ctx.Done()
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}
