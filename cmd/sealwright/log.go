package main

import (
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger writes to w: JSON lines for machines, plain columns if errors go to a
// terminal.
func (a *app) logger(w io.Writer) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(a.logLevel)
	if err != nil || level > zapcore.ErrorLevel {
		return nil, usageError{fmt.Errorf("--log-level %q: allowed: debug, info, warn, error", a.logLevel)}
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.MessageKey = "time", "message"
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc := zapcore.NewJSONEncoder(cfg)
	if isTerminal(a.err) {
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		cfg.EncodeLevel = zapcore.CapitalColorLevelEncoder
		cfg.EncodeDuration = zapcore.StringDurationEncoder
		enc = zapcore.NewConsoleEncoder(cfg)
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), level)), nil
}
