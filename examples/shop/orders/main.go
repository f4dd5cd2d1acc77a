// Command orders takes the shop's orders: a plain go-micro service that calls the other two by go-micro's own client, and knows nothing of the mesh that it joins.
package main

import (
	"log"

	"go-micro.dev/v5"

	"micromesh/examples/shop/container"
)

func main() {
	container.Begin(name)
	store, err := open(container.Database("orders.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.db.Close()
	service := micro.NewService(micro.Name(name))
	service.Init()
	for _, h := range []any{&Orders{store, service.Client()}, &container.Health{DB: store.db}} {
		if err := service.Handle(h); err != nil {
			log.Fatal(err) //nolint:gocritic // the process ends, and its database with it
		}
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
