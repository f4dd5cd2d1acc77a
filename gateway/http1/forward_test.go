package http1_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"micromesh/gateway/http1"
)

func TestSmoke(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("hello " + r.URL.Path))
	}))
	defer backend.Close()
	up := http1.NewUpstreams(http1.UpstreamsConfig{})
	defer up.Close()
	target, err := http1.ParseTarget(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := http1.NewServer(http1.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Handler: http1.HandlerFunc(func(x *http1.Exchange) {
		o := up.Forward(x, target, http1.ForwardOptions{})
		if o.Result != http1.Answered {
			t.Errorf("%+v", o)
			x.Fail(502, "BAD", o.Err.Error())
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Shutdown(t.Context())
	for range 3 {
		res, err := http.Get("http://" + ln.Addr().String() + "/abc")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		t.Log(res, string(b), err)
	}
}
