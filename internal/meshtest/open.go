package meshtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"micromesh/internal/mesh"
)

// Open starts a mesh where there is no test that it could end with, as in examples: in this process, in a folder of its own, without a
// log. Stop ends it, and removes the folder.
func Open(ctx context.Context) (*Mesh, error) {
	dir, err := os.MkdirTemp("", "meshtest-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	remove := func() error { return os.RemoveAll(dir) }
	cfg, err := Config(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	m, err := mesh.Start(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start mesh: %w", err), remove())
	}
	stop := func() { m.Stop(); _ = remove() } // it is in the system's folder for what may be lost
	return &Mesh{Host: m.Host, URL: "http://" + m.Addr().String(), stop: stop}, nil
}
