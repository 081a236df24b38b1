package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/engine/turn"
)

// A Detector is a registry of kind auto, which finds out its kind.
type Detector interface {
	// Detected asks the registry of which kind it is if that is not known yet. An
	// error means that it is not known now, and is asked again next time.
	Detected(ctx context.Context) (Detection, error)
}

// A Detection is what a registry was found to be.
type Detection struct {
	Kind    string // as which it is listed
	Because string // of what, for people
	// Lacks says why it is listed as generic though it looks like another kind;
	// "" if it does not.
	Lacks string
}

// An auto is a registry that finds out its kind: from the host's name when it is
// opened, or else by asking when it is first listed. It is asked once, whoever
// lists it meanwhile. Reading and writing are the same for every kind.
type auto struct {
	*Client
	config Config
	turns  turn.Order

	mu    sync.Mutex
	found *detected // nil: not known yet
}

var (
	_ Registry  = (*auto)(nil)
	_ TagLister = (*auto)(nil)
	_ Detector  = (*auto)(nil)
)

// A detected registry is one of the kind that it was found to be.
type detected struct {
	Registry
	Detection
}

func openAuto(client *Client, cfg Config) (*auto, error) {
	a := &auto{Client: client, config: cfg}
	kind, because := hostKind(cfg.Host)
	if kind == "" {
		return a, nil
	}
	var err error
	a.found, err = a.as(finding{kind: kind, because: because})
	return a, err
}

// as returns the registry as one of the kind that was found. If what is
// configured is not enough for that kind, it is listed as a generic one; Untagged
// and Detected say so.
func (a *auto) as(f finding) (*detected, error) {
	d := &detected{Detection: Detection{Kind: f.kind, Because: f.because}}
	cfg := a.config
	cfg.Kind = f.kind
	var err error
	if d.Registry, err = openOver(a.Client, cfg); err == nil {
		return d, nil
	}
	var file *fs.PathError
	if cfg.Cloud.ConfigFile != "" && errors.As(err, &file) {
		return nil, err // what is configured may be there next time
	}
	d.Kind, d.Registry = KindGeneric, &generic{Client: a.Client}
	d.Lacks = fmt.Sprintf("looks like %s, which cannot be used as it is configured (%s)", f.kind, strings.ReplaceAll(err.Error(), "\n", "; "))
	return d, nil
}

// known returns what was found, nil if nothing yet.
func (a *auto) known() *detected {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.found
}

// detect returns what was found, or finds it.
func (a *auto) detect(ctx context.Context) (*detected, error) {
	if d := a.known(); d != nil {
		return d, nil
	}
	// Whoever waits for it may be a live request, even if who asks is not.
	ctx = budget.WithLane(ctx, budget.Live)
	done, err := a.turns.Take(ctx, "detect")
	if err != nil {
		return nil, err
	}
	defer done()
	if d := a.known(); d != nil {
		return d, nil
	}
	f, err := a.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("finding out which kind of registry %s is (kind says it without asking): %w", a.said, err)
	}
	d, err := a.as(f)
	if err != nil {
		return nil, fmt.Errorf("opening %s as %s: %w: %w", a.said, f.kind, ErrUnsupported, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found = d
	return d, nil
}

// Detected implements Detector.
func (a *auto) Detected(ctx context.Context) (Detection, error) {
	d, err := a.detect(ctx)
	if err != nil {
		return Detection{}, err
	}
	return d.Detection, nil
}

// Repositories implements Inventory.
func (a *auto) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		d, err := a.detect(ctx)
		if err != nil {
			yield("", err)
			return
		}
		d.Repositories(ctx)(yield)
	}
}

// Artifacts implements Inventory.
func (a *auto) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		d, err := a.detect(ctx)
		if err != nil {
			yield(Artifact{}, err)
			return
		}
		d.Artifacts(ctx, q)(yield)
	}
}

// AllTags implements TagLister.
func (a *auto) AllTags(ctx context.Context, repository string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		d, err := a.detect(ctx)
		if err != nil {
			yield("", err)
			return
		}
		if lister, ok := d.Registry.(TagLister); ok {
			lister.AllTags(ctx, repository)(yield)
			return
		}
		a.Client.AllTags(ctx, repository)(yield)
	}
}

// Untagged implements Inventory.
func (a *auto) Untagged() string {
	d := a.known()
	switch {
	case d == nil:
		return "the registry has not been asked yet of which kind it is"
	case d.Lacks != "":
		return "it " + d.Lacks + "; as generic, " + d.Untagged()
	}
	return d.Untagged()
}

// autoLayouts is a directory whose kind was not configured.
type autoLayouts struct{ *layouts }

func openAutoLayouts(cfg Config) (Registry, error) {
	r, err := openLayouts(cfg)
	if err != nil {
		return nil, err
	}
	l, ok := r.(*layouts)
	if !ok {
		return r, nil
	}
	return autoLayouts{l}, nil
}

// Detected implements Detector.
func (autoLayouts) Detected(context.Context) (Detection, error) {
	return Detection{Kind: KindOCILayout, Because: "the host is a directory"}, nil
}
