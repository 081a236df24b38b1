// Package tracing sends OpenTelemetry traces: one for each execution, with spans for
// its walk, its repositories, its artifacts, and what was done to sign them.
//
// An execution is carried out by many jobs, perhaps of several replicas and after
// restarts. Its trace's id follows from the execution, so that each of them adds its
// spans to the same trace without being told.
package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// What the collector is asked at most. Spans that it does not take in time are
	// dropped: traces are no proof of anything.
	requestsPerSecond, requestsAtOnce = 20, 2
	// maxAnswer bounds an answer of the collector, in bytes.
	maxAnswer = 64 << 10
	// maxQueue is how many spans wait to be sent.
	maxQueue = 4096
)

// Options say where traces are sent. Endpoint is required.
type Options struct {
	// Endpoint is the URL of a collector that speaks OTLP over HTTP; without a path
	// it is /v1/traces.
	Endpoint string
	// Token returns the bearer token for each start, nil for none.
	Token func() (string, error)
	// Ratio is the share of executions that is traced, 0 to 1.
	Ratio float64
	// Version is that of the program.
	Version string
	// Log is told when spans cannot be sent. Nil: nobody is.
	Log *zap.Logger
}

// A Tracer sends traces. All methods may be called on nil, which traces nothing.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	ratio    float64
}

// New returns a Tracer that sends spans until it is closed. It asks nobody yet.
func New(ctx context.Context, o Options) (*Tracer, error) {
	headers := map[string]string{}
	if o.Token != nil {
		token, err := o.Token()
		if err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		headers["Authorization"] = "Bearer " + token
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	client := &http.Client{Transport: budget.NewTransport(nil, budget.Limits{RequestsPerSecond: requestsPerSecond, Concurrency: requestsAtOnce}, maxAnswer),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.Endpoint), otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithHTTPClient(client), otlptracehttp.WithTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return newTracer(&teller{SpanExporter: exporter, log: o.Log}, o), nil
}

func newTracer(exporter sdk.SpanExporter, o Options) *Tracer {
	t := &Tracer{ratio: o.Ratio}
	t.provider = sdk.NewTracerProvider(sdk.WithBatcher(exporter, sdk.WithMaxQueueSize(maxQueue)), sdk.WithIDGenerator(ids{}),
		sdk.WithSampler(sdk.AlwaysSample()), // what is not to be traced is not begun
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "sealwright"), attribute.String("service.version", o.Version))))
	t.tracer = t.provider.Tracer("github.com/sealwright/sealwright")
	return t
}

// Flush sends what waits, until ctx ends.
func (t *Tracer) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Close sends what waits, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("tracing: sending the last spans: %w", err)
	}
	return nil
}

// Within returns a context in which spans are those of an execution.
func (t *Tracer) Within(ctx context.Context, x journal.Execution) context.Context {
	if t == nil {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, t.root(x))
}

// root is the span of an execution as a whole.
func (t *Tracer) root(x journal.Execution) trace.SpanContext {
	sum := sha256.Sum256(fmt.Appendf(nil, "sealwright execution %d of %q at %d", x.ID, x.Policy, x.CreatedAt.UnixMicro()))
	c := trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), Remote: true}
	if share := float64(binary.BigEndian.Uint32(sum[24:28])) / (1 << 32); share < t.ratio {
		c.TraceFlags = trace.FlagsSampled
	}
	return trace.NewSpanContext(c)
}

// Executed sends the span of an execution that has ended.
func (t *Tracer) Executed(x journal.Execution) {
	if t == nil {
		return
	}
	root := t.root(x)
	if !root.IsSampled() {
		return
	}
	_, span := t.tracer.Start(context.WithValue(context.Background(), rootKey{}, root), "execution", trace.WithTimestamp(x.CreatedAt),
		trace.WithAttributes(attribute.String("policy", x.Policy), attribute.Int64("execution", x.ID), attribute.String("registry", x.Registry),
			attribute.String("trigger", string(x.Trigger)), attribute.String("status", string(x.Status)), attribute.String("reason", x.Reason)))
	if x.Status == journal.Failed {
		span.SetStatus(codes.Error, x.Reason)
	}
	span.End(trace.WithTimestamp(x.FinishedAt))
}

// A Span is something that is done. The zero Span is none.
type Span struct{ span trace.Span }

// Start begins a span in the one of ctx, with pairs of names and values.
func (t *Tracer) Start(ctx context.Context, name string, pairs ...string) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithAttributes(attributes(pairs)...))
	return ctx, Span{span}
}

// End ends the span: failed, if err is not nil. Its text is not sent, as traces go to
// other people than logs; pairs say what is to be known.
func (s Span) End(err error, pairs ...string) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attributes(pairs)...)
	if err != nil {
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

func attributes(pairs []string) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, attribute.String(pairs[i], pairs[i+1]))
	}
	return list
}

// rootKey is of the context in which the span of a whole execution is begun. Its ids
// are those that the spans within it have named before.
type rootKey struct{}

// ids gives spans their ids.
type ids struct{}

// NewIDs implements sdk.IDGenerator. Only the spans of whole executions have no
// parent.
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	root, _ := ctx.Value(rootKey{}).(trace.SpanContext)
	return root.TraceID(), root.SpanID()
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1) //nolint:gosec // an id, and no secret
	return id
}

// A teller logs that spans could not be sent, at most once a minute.
type teller struct {
	sdk.SpanExporter
	log *zap.Logger

	mu   sync.Mutex
	told time.Time
}

// ExportSpans implements sdk.SpanExporter. Its errors would go to a handler that the
// whole process has.
func (t *teller) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil && time.Since(t.told) > time.Minute {
		t.told = time.Now()
		t.log.Warn("traces not sent, they are dropped", zap.Int("spans", len(spans)), zap.Error(err))
	}
	return nil
}
