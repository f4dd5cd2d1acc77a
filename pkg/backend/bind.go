package backend

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"micromesh/pkg/errs"
	"micromesh/pkg/sqldb"
)

// Sealed describes the values that a service's database holds sealed by the secret key.
type Sealed struct {
	// Each returns the sealed values with their contexts; nil if there are never any.
	Each func(ctx context.Context) (values []SealedValue, err error)
	// Tables hold these values, and no others. They are emptied when the mesh starts anew with another key.
	Tables []string
	// Loss is what is lost then, for the operator.
	Loss string
}

// SealedValue is a value that secret.Box.Seal has made.
type SealedValue struct {
	Sealed  []byte
	Context string
}

// Bind fails unless the secret key of this process is the one of the database, whose migrations were applied. The first process
// binds the database to its key. It comes before anything is sealed.
//
// Errors: Unavailable; others are one line for the operator.
func (b *Backend) Bind(ctx context.Context, s Sealed) error {
	key := b.host.SecretKey()
	verifier := hex.EncodeToString(b.host.Secrets.MAC([]byte(b.name), "verifier of a database"))
	bind := func() error {
		return b.DB.Bind(ctx, verifier, func(ctx context.Context) error { return b.opens(ctx, s) })
	}
	err := bind()
	if errors.Is(err, sqldb.ErrOtherKey) && key.Renewed {
		b.Log.Warn("sealed_values_deleted", "tables", s.Tables)
		if err = b.DB.Unbind(ctx, s.Tables...); err == nil {
			err = bind()
		}
	}
	switch {
	case err == nil || unavailable(err):
		return err
	case !errors.Is(err, sqldb.ErrOtherKey):
		return fmt.Errorf("open %s: %w", b.name, err)
	}
	again := key.Again
	if again == "" {
		again = "stop all processes of " + b.name + " and run in its database: " + strings.Join(statements(s.Tables), " ")
	}
	return fmt.Errorf("open %s: %s is not the one of its database: restore the one that was there before. If it is lost, %s. That loses %s",
		b.name, key.Name, again, s.Loss)
}

// opens fails if none of the stored values opens. A single one proves the key: values that a lost key sealed may lie beside it.
func (b *Backend) opens(ctx context.Context, s Sealed) error {
	if s.Each == nil {
		return nil
	}
	values, err := s.Each(ctx)
	if err != nil {
		return err
	}
	for _, v := range values {
		if _, err := b.host.Secrets.Open(v.Sealed, v.Context); err == nil {
			return nil
		}
	}
	if len(values) > 0 {
		return sqldb.ErrOtherKey
	}
	return nil
}

func unavailable(err error) bool { return errs.Is(err, errs.Unavailable) }

func statements(tables []string) []string {
	var out []string
	for _, t := range append(tables, "secret_key") {
		out = append(out, "DELETE FROM "+t+";")
	}
	return out
}
