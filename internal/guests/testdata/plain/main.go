// Command plain is a program in plain go-micro: it knows nothing of the mesh, and is set up by go-micro's own variables.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"sync/atomic"

	"go-micro.dev/v5"
	"go-micro.dev/v5/broker"
	"go-micro.dev/v5/client"
	grpcclient "go-micro.dev/v5/client/grpc"
	"go-micro.dev/v5/errors"
	"go-micro.dev/v5/metadata"
	grpcserver "go-micro.dev/v5/server/grpc"
	"go-micro.dev/v5/web"
)

// Greeter greets, and calls other services.
type Greeter struct {
	client client.Client
	broker broker.Broker
	heard  atomic.Value // the last message
}

type HelloRequest struct {
	Name string `json:"name"`
}

type HelloResponse struct {
	Text  string `json:"text"`
	Token string `json:"token"`
}

// Hello greets somebody.
func (g *Greeter) Hello(ctx context.Context, in *HelloRequest, out *HelloResponse) error {
	if in.Name == "" {
		return errors.BadRequest("greeter", "say a name")
	}
	out.Text = "hello " + in.Name
	out.Token, _ = metadata.Get(ctx, "Authorization")
	if out.Token == "" {
		out.Token, _ = metadata.Get(ctx, "authorization")
	}
	return nil
}

type AskRequest struct {
	Service  string            `json:"service"`
	Endpoint string            `json:"endpoint"`
	Body     map[string]string `json:"body"`
	Token    string            `json:"token"`
}

type AskResponse struct {
	Answer string `json:"answer"`
	Error  string `json:"error"`
}

// Ask calls a method of another service.
func (g *Greeter) Ask(ctx context.Context, in *AskRequest, out *AskResponse) error {
	md := metadata.Metadata{}
	if in.Token != "" {
		md["Authorization"] = "Bearer " + in.Token
	}
	var answer map[string]any
	req := g.client.NewRequest(in.Service, in.Endpoint, in.Body, client.WithContentType("application/json"))
	if err := g.client.Call(metadata.NewContext(ctx, md), req, &answer); err != nil {
		out.Error = err.Error()
		return nil
	}
	b, err := json.Marshal(answer)
	out.Answer = string(b)
	return err
}

type TellResponse struct{}

// Tell publishes a message through go-micro's broker.
func (g *Greeter) Tell(_ context.Context, in *HelloRequest, _ *TellResponse) error {
	return g.broker.Publish("greetings", &broker.Message{Body: []byte(in.Name)})
}

// Heard returns the last message that came.
func (g *Greeter) Heard(_ context.Context, _ *HelloRequest, out *HelloResponse) error {
	out.Text, _ = g.heard.Load().(string)
	return nil
}

// listen subscribes to messages.
func (g *Greeter) listen() error {
	if err := g.broker.Connect(); err != nil {
		return err
	}
	if os.Getenv("PLAIN_LISTENS") == "" {
		return nil
	}
	_, err := g.broker.Subscribe("greetings", func(e broker.Event) error {
		g.heard.Store(string(e.Message().Body))
		return nil
	})
	return err
}

// Newer is a handler that an older version of the program lacks.
type Newer struct{}

// Hello greets in a newer way.
func (Newer) Hello(_ context.Context, in *HelloRequest, out *HelloResponse) error {
	out.Text = "good day " + in.Name
	return nil
}

func main() {
	name := os.Getenv("PLAIN_NAME")
	if os.Getenv("PLAIN_WEB") != "" {
		site(name)
		return
	}
	service := micro.NewService(append(speaking(os.Getenv("PLAIN_SPEAKS")), micro.Name(name), micro.Version(os.Getenv("PLAIN_VERSION")))...)
	service.Init()
	greeter := &Greeter{client: service.Client(), broker: service.Options().Broker}
	if err := greeter.listen(); err != nil {
		log.Fatal(err)
	}
	for _, h := range handlers(greeter) {
		if err := micro.RegisterHandler(service.Server(), h); err != nil {
			log.Fatal(err)
		}
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}

// speaking selects go-micro's gRPC server and client in code: no variable does.
func speaking(protocol string) []micro.Option {
	if protocol != "grpc" {
		return nil
	}
	return []micro.Option{micro.Server(grpcserver.NewServer()), micro.Client(grpcclient.NewClient())}
}

func handlers(g *Greeter) []any {
	out := []any{g}
	if os.Getenv("PLAIN_VERSION") != "old" {
		out = append(out, Newer{})
	}
	return out
}

// site is a program on go-micro's package web.
func site(name string) {
	service := web.NewService(web.Name(name))
	if err := service.Init(); err != nil {
		log.Fatal(err)
	}
	service.HandleFunc("/"+name+"/hello", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Site", name)
		_, _ = w.Write([]byte(r.Method + " " + r.URL.String() + " " + string(body)))
	})
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
