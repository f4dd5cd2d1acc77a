package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"

	"micromesh/pkg/auth"
	"micromesh/pkg/errs"
	sdk "micromesh/sdk/go"
)

// A whole service: it answers whoever asks, by name where the caller is signed in.
func Example() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a program
	svc, err := sdk.Open(ctx, examples.config("hello-svc"))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello-svc/hello", func(w http.ResponseWriter, r *http.Request) {
		name := "world"
		if caller, err := svc.Verify(r); err == nil {
			name = caller.Slug
		}
		_ = sdk.WriteJSON(w, http.StatusOK, map[string]string{"hello": name})
	})
	ended := make(chan error)
	go func() { ended <- svc.Run(ctx, mux) }()

	examples.get("/hello-svc/hello", "")
	examples.get("/hello-svc/hello", examples.account("ann"))
	stop()
	fmt.Println(<-ended)
	// Output:
	// 200 {"hello":"world"}
	// 200 {"hello":"ann"}
	// <nil>
}

// A service that is net/http's alone: it listens and serves by itself, and takes part in the mesh by Register.
func ExampleService_Register() {
	ctx := context.Background()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /plain-svc/hello", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(ln) }()

	svc, err := sdk.Open(ctx, examples.config("plain-svc"))
	if err != nil {
		log.Fatal(err)
	}
	if err := svc.Register(ctx, "http://"+ln.Addr().String()); err != nil {
		log.Fatal(err)
	}
	examples.get("/plain-svc/hello", "")
	fmt.Println(svc.Close(), srv.Shutdown(ctx)) // the mesh is left first, so that nobody is sent to a port that is closed
	// Output:
	// 200 hello
	// <nil> <nil>
}

func ExampleService_RequireSignedIn() {
	svc, err := sdk.Open(context.Background(), examples.config("inbox-svc"))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /inbox-svc/mine", svc.RequireSignedIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "mail of ", auth.FromContext(r.Context()).Slug)
	})))
	defer examples.serve(svc, mux)()

	examples.get("/inbox-svc/mine", examples.account("bob"))
	examples.get("/inbox-svc/mine", "")
	// Output:
	// 200 mail of bob
	// 401 UNAUTHENTICATED
}

// The role is one of the service's own, which gives it with SaveEnrolls.
func ExampleService_RequireRole() {
	ctx := context.Background()
	svc, err := sdk.Open(ctx, examples.config("zoo-svc"))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /zoo-svc/keys", svc.RequireRole("zoo-svc:keeper", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here they are") })))
	defer examples.serve(svc, mux)()

	examples.get("/zoo-svc/keys", examples.account("visitor"))
	// Output:
	// 403 FORBIDDEN
}

// A permission is the mesh's to decide: by what slug and roles the caller has, and by what the service has granted.
func ExampleService_HasPermission() {
	ctx := context.Background()
	svc, err := sdk.Open(ctx, examples.config("post-svc"))
	if err != nil {
		log.Fatal(err)
	}
	reader := examples.account("reader")
	if err := svc.SavePermits(ctx, sdk.Permit{Permission: "post-svc:letter:read", Slugs: []string{"reader"}}); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /post-svc/letters", func(w http.ResponseWriter, r *http.Request) {
		may, err := svc.HasPermission(r, "post-svc:letter:read")
		switch {
		case err != nil:
			sdk.WriteError(w, r, err)
		case !may:
			sdk.WriteError(w, r, errs.Forbiddenf("letters are for those who may read them"))
		default:
			fmt.Fprint(w, "dear reader")
		}
	})
	defer examples.serve(svc, mux)()

	examples.get("/post-svc/letters", reader)
	examples.get("/post-svc/letters", examples.account("other"))
	// Output:
	// 200 dear reader
	// 403 FORBIDDEN
}

// Any path of the gateway can be called as the service. Errors are the mesh's, by their kind.
func ExampleService_Call() {
	ctx := context.Background()
	svc, err := sdk.Open(ctx, examples.config("caller-svc"))
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close()
	var self struct{ User struct{ Slug string } }
	err = svc.Call(ctx, http.MethodPost, "/user-svc/self", nil, &self)
	fmt.Println(self.User.Slug, err)

	err = svc.Call(ctx, http.MethodPut, "/registry-svc/instance", map[string]string{"url": "ftp://x"}, nil)
	e, _ := errors.AsType[*errs.Error](err)
	fmt.Println(errs.Is(err, errs.Invalid), e.Details[0].Field)
	// Output:
	// caller-svc <nil>
	// true url
}
