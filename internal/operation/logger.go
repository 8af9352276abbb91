package operation

import (
	"context"
	"log/slog"
)

type loggerKey struct{}

// WithLogger returns a context whose log lines carry an operation's id.
func WithLogger(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey{}, log)
}

// Logger returns the logger of the operation that ctx belongs to, else the default one.
func Logger(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(loggerKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.Default()
}
