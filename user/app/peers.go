package app

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go"

	"micromesh/user/service"
)

// used is the subject on which the processes of the service tell each other which of the tokens that were issued a moment
// ago were used. Nobody else may publish there. What is lost on the way leaves a reuse unnoticed for the moments in which
// an answer that was lost may be asked for again.
const used = "mesh." + Name + ".used"

type peers struct {
	nats *nats.Conn
	log  *slog.Logger
}

var _ service.Peers = peers{}

// Used implements service.Peers.
func (p peers) Used(tokenID string) {
	if err := p.nats.Publish(used, []byte(tokenID)); err != nil {
		p.log.Warn("peers_not_told", "error", err)
	}
}

// maxTokenID bounds what is believed to be a token's id, in bytes.
const maxTokenID = 128

// run listens until ctx ends.
func (p peers) run(ctx context.Context, svc *service.Service) {
	told := make(chan *nats.Msg, 1024)
	sub, err := p.nats.ChanSubscribe(used, told)
	if err != nil { // only where the connection was closed
		p.log.Error("peers_not_heard", "error", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-told:
			if len(m.Data) <= maxTokenID {
				svc.Used(string(m.Data))
			}
		}
	}
}
