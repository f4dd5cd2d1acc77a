package handler

import (
	"context"

	log "go-micro.dev/v5/logger"

	pb "helloworld/proto"
)

type Helloworld struct{}

// Return a new handler.
func New() *Helloworld {
	return &Helloworld{}
}

// Call greets a person by name and returns a welcome message.
//
// @example {"name": "Alice"}
func (e *Helloworld) Call(ctx context.Context, req *pb.Request, rsp *pb.Response) error {
	log.Info("Received Helloworld.Call request")
	rsp.Msg = "Hello " + req.Name
	return nil
}

// Stream sends a sequence of numbered responses back to the caller.
func (e *Helloworld) Stream(ctx context.Context, req *pb.StreamingRequest, stream pb.Helloworld_StreamStream) error {
	log.Infof("Received Helloworld.Stream request with count: %d", req.Count)
	for i := 0; i < int(req.Count); i++ {
		if err := stream.Send(&pb.StreamingResponse{Count: int64(i)}); err != nil {
			return err
		}
	}
	return nil
}
