package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/tracing"
)

// lastSpans is how long a stop waits for the collector of traces.
const lastSpans = 3 * time.Second

// openTracer returns who sends traces, nil if nobody is to.
func openTracer(ctx context.Context, c configs.Tracing, log *zap.Logger) (*tracing.Tracer, error) {
	if c.Endpoint == "" {
		return nil, nil
	}
	o := tracing.Options{Endpoint: c.Endpoint, Ratio: c.Ratio, Version: version(), Log: log}
	if c.TokenFile != "" {
		o.Token = func() (string, error) {
			token, err := readSecret(c.TokenFile, 1)
			return string(token), err
		}
	}
	return tracing.New(ctx, o)
}

func closeTracer(t *tracing.Tracer, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("closing", zap.Error(err))
	}
}
