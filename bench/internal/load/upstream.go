package load

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"

	"micromesh/bench/internal/child"
	"micromesh/gateway/http1"
)

// AnswerSize is the size of what an upstream answers, in bytes.
const AnswerSize = 1 << 10

// Upstream is the role of a server that answers every request alike.
func Upstream(ctx context.Context) error {
	body := bytes.Repeat([]byte("x"), AnswerSize)
	srv, err := http1.NewServer(http1.Config{Logger: slog.Default(), Handler: http1.HandlerFunc(func(x *http1.Exchange) {
		x.Respond(http.StatusOK, "text/plain", body)
	})})
	if err != nil {
		return err
	}
	return child.Listen(ctx, srv)
}
