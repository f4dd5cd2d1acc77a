package process_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"micromesh/pkg/host"
	"micromesh/pkg/process"
)

// settings are those of a service.
type settings struct {
	Colour string `env:"MICRO_COLOUR" envDefault:"red" help:"what it looks like"`
	Shop   string `env:"MICRO_SHOP" required:"" secret:"" help:"where it is sold"`
}

func (s *settings) Validate() error {
	if s.Colour == "blue" {
		return errors.New("MICRO_COLOUR is blue; it must be another")
	}
	return nil
}

// run runs a command line of a service that must not be opened.
func run(t *testing.T, args []string, environ map[string]string) (code int, stdout, stderr string) {
	t.Helper()
	var out, wrong bytes.Buffer
	s := process.Service{
		Name: "paint-svc", Usage: "paint", Health: "127.0.0.1:1", Config: &settings{},
		Open: func(context.Context, *host.Host) (process.App, error) {
			t.Error("it was opened")
			return nil, errors.New("opened")
		},
	}
	code = process.Run(t.Context(), s, append([]string{"paint"}, args...), environ, &out, &wrong)
	return code, out.String(), wrong.String()
}

func TestHelpListsEverySetting(t *testing.T) {
	code, out, _ := run(t, []string{"--help"}, nil)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"--colour", "what it looks like", "[MICRO_COLOUR]", "(default: red)", "[MICRO_SHOP*]", "MICRO_SECRET_KEY*", "MICRO_REGISTRY_ADDRESS",
		"nats://127.0.0.1:4222", "MICRO_SERVER_ADDRESS", "(default: 127.0.0.1:1)", "healthcheck",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("help lacks %q:\n%s", want, out)
		}
	}
}

func TestAllThatIsWrongIsToldAtOnce(t *testing.T) {
	code, _, wrong := run(t, []string{"--nats-replicas", "9", "--colour=blue"}, map[string]string{
		"MICRO_SECRET_KEY": "short", "MICRO_LOG": "loud", "MICRO_NATS_USER": "me", "MICRO_TLS_CERT": "cert.pem", "MICRO_SERVER_ADDRESS": "here",
		"MICRO_REGISTRY_ADDRESS": "http://me:secret@nats", "MICRO_SESSION_LIFE": "soon", "MICRO_LOG_FORMAT": "xml",
	})
	if code != 2 {
		t.Errorf("exit code %d", code)
	}
	want := []string{
		"MICRO_SHOP is not set; it must be where it is sold", "MICRO_NATS_REPLICAS is 9", "MICRO_COLOUR is blue", "MICRO_SECRET_KEY: ", "MICRO_LOG is \"loud\"",
		"MICRO_NATS_USER and MICRO_NATS_PASSWORD", "MICRO_TLS_CERT, MICRO_TLS_KEY and MICRO_TLS_CA", "MICRO_SERVER_ADDRESS is \"here\"",
		"MICRO_REGISTRY_ADDRESS must hold URLs", "MICRO_SESSION_LIFE is \"soon\"", "MICRO_LOG_FORMAT is \"xml\"",
	}
	for _, w := range want {
		if !strings.Contains(wrong, w) {
			t.Errorf("it doesn't say %q", w)
		}
	}
	if n := strings.Count(strings.TrimSpace(wrong), "\n") + 1; n != len(want) {
		t.Errorf("it says %d lines, not %d:\n%s", n, len(want), wrong)
	}
	if strings.Contains(wrong, "secret@") || strings.Contains(wrong, "short") {
		t.Errorf("it repeats a secret:\n%s", wrong)
	}
}

// TestASecretKeyThatIsWrongIsNamed has the key lie in a file.
func TestASecretKeyThatIsWrongIsNamed(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]string{
		"": "is empty", "\n": "is empty", "short": "it is not base64", "c2hvcnQ=": "it has 5 bytes; a secret key has 32", "missing": "no such file",
	} {
		file := filepath.Join(dir, "secret.key")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if content == "missing" {
			file += "s"
		}
		code, _, wrong := run(t, nil, map[string]string{"MICRO_SHOP": "here", "MICRO_SECRET_KEY_FILE": file})
		if code != 2 || !strings.Contains(wrong, file) || !strings.Contains(wrong, want) || !strings.Contains(wrong, "MICRO_SECRET_KEY") {
			t.Errorf("%q: exit code %d, says %q", content, code, wrong)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	for _, args := range [][]string{{"--nonsense"}, {"start"}, {"--colour"}} {
		if code, _, wrong := run(t, args, nil); code != 2 || wrong == "" || strings.Count(strings.TrimSpace(wrong), "\n") > 0 {
			t.Errorf("%v: exit code %d, says %q", args, code, wrong)
		}
	}
}

func TestHealthcheckAsksTheProcessThatRuns(t *testing.T) {
	status, body := http.StatusOK, `{"status":"ready"}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("%s was asked for", r.URL)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	check := func(address string) (int, string) {
		t.Helper()
		code, out, wrong := run(t, []string{"healthcheck"}, map[string]string{"MICRO_HEALTH_ADDRESS": address})
		return code, out + wrong
	}
	for _, address := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, ":" + port} {
		if code, says := check(address); code != 0 || says != "ready\n" {
			t.Errorf("%s: exit code %d, says %q", address, code, says)
		}
	}
	status, body = http.StatusServiceUnavailable, `{"error":"the database doesn't answer"}`
	if code, says := check("127.0.0.1:" + port); code != 1 || says != "not ready: the database doesn't answer\n" {
		t.Errorf("not ready: exit code %d, says %q", code, says)
	}
	body = "<html>"
	if code, says := check("127.0.0.1:" + port); code != 1 || !strings.Contains(says, "no service of the mesh") {
		t.Errorf("something else: exit code %d, says %q", code, says)
	}
	if code, says := check("127.0.0.1:1"); code != 1 || !strings.Contains(says, "nothing answers on 127.0.0.1:1") {
		t.Errorf("nobody: exit code %d, says %q", code, says)
	}
	if code, _ := check("off"); code != 2 {
		t.Errorf("off: exit code %d", code)
	}
}
