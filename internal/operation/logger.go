package operation

import (
	"context"
	"log/slog"
	"slices"

	"banger/internal/model"
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

// idKey is the log attribute that holds an operation's id.
const idKey = "op"

// ID is the attribute that marks a logger's lines as an operation's.
func ID(id model.OperationID) slog.Attr { return slog.String(idKey, string(id)) }

// Handler returns a handler that writes through h and puts an operation's id on every line: the one that its logger was
// given by ID, else otherwise, the id of what the program does by itself.
func Handler(h slog.Handler, otherwise model.OperationID) slog.Handler {
	return handler{Handler: h, otherwise: ID(otherwise)}
}

type handler struct {
	slog.Handler
	otherwise slog.Attr
	marked    bool // an id stands among the attributes
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.marked {
		r = r.Clone()
		r.AddAttrs(h.otherwise)
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	h.marked = h.marked || slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == idKey })
	return h
}

func (h handler) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
