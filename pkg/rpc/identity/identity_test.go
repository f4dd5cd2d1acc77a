package identity_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"micromesh/pkg/rpc/identity"
)

// authority makes an authority for tests.
func authority(t *testing.T) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// write puts a process's identity into a folder: signed by one authority, trusting others.
func write(t *testing.T, dir string, signer *identity.Authority, name string, trusted ...*identity.Authority) identity.Files {
	t.Helper()
	cert, key, err := signer.Sign(time.Hour, name)
	if err != nil {
		t.Fatal(err)
	}
	var pool []byte
	for _, a := range trusted {
		c, _, err := a.PEM()
		if err != nil {
			t.Fatal(err)
		}
		pool = append(pool, c...)
	}
	f := identity.Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
	for file, content := range map[string][]byte{f.Cert: cert, f.Key: key, f.CA: pool} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func load(t *testing.T, f identity.Files) *identity.Identity {
	t.Helper()
	i, err := identity.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// serve starts a gRPC server that shows an identity.
func serve(t *testing.T, i *identity.Identity) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(i.Server()))
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return ln.Addr().String()
}

// call calls what it expects to be a service, on a connection of its own.
func call(t *testing.T, address, service string, creds credentials.TransportCredentials) error {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithAuthority(service))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func TestWhoMayTalkToWhom(t *testing.T) {
	ours, theirs := authority(t), authority(t)
	address := serve(t, load(t, write(t, t.TempDir(), ours, "user-svc", ours)))
	for name, row := range map[string]struct {
		service string
		creds   credentials.TransportCredentials
		ok      bool
	}{
		"a process of the mesh":                {"user-svc", load(t, write(t, t.TempDir(), ours, "gateway-svc", ours)).Client(), true},
		"a server that is another service":     {"registry-svc", load(t, write(t, t.TempDir(), ours, "gateway-svc", ours)).Client(), false},
		"a client of another authority":        {"user-svc", load(t, write(t, t.TempDir(), theirs, "gateway-svc", ours)).Client(), false},
		"a client that trusts another":         {"user-svc", load(t, write(t, t.TempDir(), ours, "gateway-svc", theirs)).Client(), false},
		"a client without a certificate":       {"user-svc", anonymous(t, ours), false},
		"a client in plain text":               {"user-svc", insecure.NewCredentials(), false},
		"a server's name with another's case":  {"USER-SVC", load(t, write(t, t.TempDir(), ours, "gateway-svc", ours)).Client(), true}, // DNS names have no case
		"a name of which it is only the start": {"user", load(t, write(t, t.TempDir(), ours, "gateway-svc", ours)).Client(), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := call(t, address, row.service, row.creds)
			if row.ok && err != nil {
				t.Errorf("got %v", err)
			}
			if !row.ok && status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want no connection", err)
			}
		})
	}
}

// anonymous trusts an authority, and shows no certificate.
func anonymous(t *testing.T, a *identity.Authority) credentials.TransportCredentials {
	t.Helper()
	cfg := load(t, write(t, t.TempDir(), a, "nobody", a)).TLS()
	cfg.Certificates = nil
	return credentials.NewTLS(cfg)
}

func TestFilesAreReplacedWithoutRestart(t *testing.T) {
	first, second := authority(t), authority(t)
	serverDir, clientDir := t.TempDir(), t.TempDir()
	address := serve(t, load(t, write(t, serverDir, first, "user-svc", first)))
	client := load(t, write(t, clientDir, first, "gateway-svc", first)).Client()
	if err := call(t, address, "user-svc", client); err != nil {
		t.Fatal(err)
	}
	// As an authority is replaced: both are trusted first, then new certificates are signed, then the old one goes.
	for step, replace := range []func(){
		func() { write(t, serverDir, first, "user-svc", first, second) },
		func() { write(t, clientDir, first, "gateway-svc", first, second) },
		func() { write(t, serverDir, second, "user-svc", second, first) },
		func() { write(t, clientDir, second, "gateway-svc", second) },
		func() { write(t, serverDir, second, "user-svc", second) },
	} {
		replace()
		if err := call(t, address, "user-svc", client); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
	}
	old := load(t, write(t, t.TempDir(), first, "gateway-svc", second)).Client()
	if err := call(t, address, "user-svc", old); status.Code(err) != codes.Unavailable {
		t.Errorf("a certificate of the old authority is still accepted: %v", err)
	}
	// Files that don't fit together change nothing.
	if err := os.WriteFile(filepath.Join(clientDir, "key.pem"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := call(t, address, "user-svc", client); err != nil {
		t.Errorf("with a broken file: %v", err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	a := authority(t)
	for name, row := range map[string]struct {
		spoil func(*identity.Files)
		want  string
	}{
		"a file that is missing":       {func(f *identity.Files) { f.Cert += ".missing" }, "no such file"},
		"a key of another certificate": {func(f *identity.Files) { f.Key = write(t, t.TempDir(), a, "other", a).Key }, "private key does not match"},
		"an authority that is none":    {func(f *identity.Files) { f.CA = f.Key }, "holds no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			f := write(t, t.TempDir(), a, "user-svc", a)
			row.spoil(&f)
			if _, err := identity.Load(f); err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, row.want)
			}
		})
	}
}

func TestAuthorityIsReadBack(t *testing.T) {
	a := authority(t)
	cert, key, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := identity.ParseAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, load(t, write(t, t.TempDir(), again, "user-svc", a)))
	if err := call(t, address, "user-svc", load(t, write(t, t.TempDir(), a, "gateway-svc", again)).Client()); err != nil {
		t.Error(err)
	}
	_, otherKey, err := authority(t).PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{"another's key": {cert, otherKey}, "no PEM": {[]byte("x"), key}, "swapped": {key, cert}} {
		if _, err := identity.ParseAuthority(pair[0], pair[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCheckNamesTheFileThatIsWrong(t *testing.T) {
	mine, other := authority(t), authority(t)
	good := write(t, t.TempDir(), mine, "user-svc", mine)
	if err := load(t, good).Check("user-svc"); err != nil {
		t.Error(err)
	}
	if err := load(t, write(t, t.TempDir(), mine, "user-svc", other, mine)).Check("user-svc"); err != nil {
		t.Errorf("while the authority is replaced: %v", err)
	}
	expired := write(t, t.TempDir(), mine, "user-svc", mine)
	cert, key, err := mine.Sign(time.Millisecond, "user-svc")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{expired.Cert: cert, expired.Key: key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for what, f := range map[string]identity.Files{
		"is of [registry-svc], not of user-svc": write(t, t.TempDir(), mine, "registry-svc", mine),
		"is not signed by an authority in ":     write(t, t.TempDir(), mine, "user-svc", other),
		"renew it":                              expired,
	} {
		if err := load(t, f).Check("user-svc"); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), f.Cert) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
