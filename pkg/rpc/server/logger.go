package server

import (
	"context"
	"fmt"
	"log/slog"

	"go-micro.dev/v5/logger"
)

// microLogger gives go-micro's own messages to slog: what it calls information is of use to developers only.
type microLogger struct{ log *slog.Logger }

var _ logger.Logger = microLogger{}

func newLogger(l *slog.Logger) logger.Logger { return microLogger{l} }

func (l microLogger) Init(...logger.Option) error { return nil }
func (l microLogger) Options() logger.Options     { return logger.Options{} }
func (l microLogger) String() string              { return "slog" }

func (l microLogger) Fields(f map[string]any) logger.Logger {
	args := make([]any, 0, 2*len(f))
	for k, v := range f {
		args = append(args, k, v)
	}
	return microLogger{l.log.With(args...)}
}

func (l microLogger) Log(level logger.Level, v ...any) { l.write(level, fmt.Sprint(v...)) }

func (l microLogger) Logf(level logger.Level, format string, v ...any) {
	l.write(level, fmt.Sprintf(format, v...))
}

func (l microLogger) write(level logger.Level, msg string) {
	to := slog.LevelDebug
	switch {
	case level >= logger.ErrorLevel:
		to = slog.LevelError
	case level == logger.WarnLevel:
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, "go_micro", "message", msg)
}
