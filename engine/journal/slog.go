package journal

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogTo makes the logger that River wants out of ours. River's own levels are
// kept from Warn upwards; its Info is chatter and becomes Debug.
func slogTo(log *zap.Logger) *slog.Logger {
	return slog.New(zapHandler{log.Named("jobs")})
}

// zapHandler writes slog records with zap, under one constant message.
type zapHandler struct{ log *zap.Logger }

func (h zapHandler) Enabled(_ context.Context, l slog.Level) bool {
	return h.log.Core().Enabled(zapLevel(l))
}

func (h zapHandler) Handle(_ context.Context, r slog.Record) error {
	fields := make([]zap.Field, 0, 1+r.NumAttrs())
	fields = append(fields, zap.String("event", r.Message))
	r.Attrs(func(a slog.Attr) bool {
		fields = append(fields, zapField(a))
		return true
	})
	h.log.Log(zapLevel(r.Level), "job queue", fields...)
	return nil
}

func (h zapHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make([]zap.Field, 0, len(attrs))
	for _, a := range attrs {
		fields = append(fields, zapField(a))
	}
	return zapHandler{h.log.With(fields...)}
}

func (h zapHandler) WithGroup(name string) slog.Handler {
	return zapHandler{h.log.With(zap.Namespace(name))}
}

func zapField(a slog.Attr) zap.Field { return zap.Any(a.Key, a.Value.Resolve().Any()) }

func zapLevel(l slog.Level) zapcore.Level {
	switch {
	case l >= slog.LevelError:
		return zapcore.ErrorLevel
	case l >= slog.LevelWarn:
		return zapcore.WarnLevel
	}
	return zapcore.DebugLevel
}
