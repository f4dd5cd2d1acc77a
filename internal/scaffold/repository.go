package scaffold

import "context"

func (s *Spec) intoRepository(context.Context) (Written, error) { return Written{}, nil }
