// Command users keeps the shop's users: a plain go-micro service, which knows nothing of the mesh that it joins.
package main

import (
	"log"
	"os"

	"go-micro.dev/v5"
)

func main() {
	store, err := open(dsn("users.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.db.Close()
	service := micro.NewService(micro.Name("users"))
	service.Init()
	if err := service.Handle(&Users{store}); err != nil {
		log.Fatal(err) //nolint:gocritic // the process ends, and its database with it
	}
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}

// dsn is where the data is: DATABASE_DSN, postgres://… or an SQLite file.
func dsn(otherwise string) string {
	if d := os.Getenv("DATABASE_DSN"); d != "" {
		return d
	}
	return otherwise
}
