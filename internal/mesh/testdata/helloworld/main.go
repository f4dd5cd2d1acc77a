package main

import (
	"helloworld/handler"
	pb "helloworld/proto"

	"go-micro.dev/v5"
	log "go-micro.dev/v5/logger"
)

func main() {
	// Create service
	service := micro.NewService(
		micro.Name("helloworld"),
	)

	// Initialize service
	service.Init()

	// Register handler
	if err := pb.RegisterHelloworldHandler(service.Server(), handler.New()); err != nil {
		log.Fatal(err)
	}

	// Run service
	if err := service.Run(); err != nil {
		log.Fatal(err)
	}
}
