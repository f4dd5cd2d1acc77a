package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Healthcheck asks the service that runs with these settings whether it answers.
func Healthcheck(ctx context.Context, cfg Config) error {
	if cfg.SelfURL == "" {
		return errors.New("MICRO_SELF_URL is not set: nobody but the mesh knows where the service listens")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.SelfURL+"/basic-svc/hello", nil)
	if err != nil {
		return err
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask for health: %w", err)
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("the service answers %s", rsp.Status)
	}
	return nil
}
