package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/sink/ocir"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
)

// An imageSink is a sink of kind ocir with the key that it holds.
type imageSink struct {
	*ocir.Sink
	key *sinkKey
}

// openOCIRSink opens a sink, whose credentials are read now, so that a file that is not
// one is found at the start, and again for each request.
func (d *service) openOCIRSink(cfg *configs.Config, c configs.Sink) (*imageSink, error) {
	identity := func() (common.KeyProvider, error) { return kms.OCIIdentity(c.ConfigFile, c.Profile) }
	if _, err := identity(); err != nil {
		return nil, err
	}
	key := &sinkKey{opener: d.opener, name: c.Key}
	s, err := ocir.New(ocir.Options{Region: c.Region, Endpoint: c.Endpoint, Registry: c.Registry, Namespace: c.Namespace, Compartment: c.Compartment,
		Key: key, KeyID: cfg.OracleKeyID(c), KeyVersionID: c.KeyVersionID, Identity: identity,
		Has: func(ctx context.Context, repository, digest string) (bool, error) {
			return d.has(ctx, c.Registry, repository, digest)
		},
		KeyUsed:   func(took time.Duration, err error) { d.metrics.KeyUsed(c.Key, took, err) },
		Count:     func(r ocir.Result) { d.sinks.image(c.Name, r) },
		UserAgent: "sealwright/" + version(), Log: d.log.Named("sinks").With(zap.String("sink", c.Name))})
	if err != nil {
		return nil, err
	}
	return &imageSink{s, key}, nil
}

// has asks a registry for a digest.
func (d *service) has(ctx context.Context, name, repository, digest string) (bool, error) {
	r, ok := d.engine.Registry(name)
	if !ok {
		return false, fmt.Errorf("registry %q is not configured", name)
	}
	_, err := r.Resolve(ctx, repository, digest)
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// A sinkKey is a key of the setup in force, lent to a sink: it stays open as long as the
// sink goes on, which may be longer than the setup.
type sinkKey struct {
	opener *opener
	name   string

	mu   sync.Mutex
	held kms.Signer // nil: none
}

// hold borrows the key as soon as it is in force, if its store has given it.
func (k *sinkKey) hold() { _, _ = k.Signer() } // whose error the first use says

// Signer implements ocir.Key.
func (k *sinkKey) Signer() (kms.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next, another, err := k.opener.borrow(k.name, k.held)
	if err != nil || !another {
		return next, err
	}
	if k.held != nil {
		err = k.held.Close()
	}
	k.held = next
	return next, err
}

// Close implements ocir.Key.
func (k *sinkKey) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return nil
	}
	held := k.held
	k.held = nil
	return held.Close()
}

// borrow lends a key of the setup in force, unless what was borrowed before is still
// that key.
func (o *opener) borrow(name string, before kms.Signer) (s kms.Signer, another bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key, ok := o.keys[name]
	switch {
	case !ok:
		return nil, false, fmt.Errorf("key %q is not configured", name)
	case key.Err != nil:
		return nil, false, fmt.Errorf("key %q: %w", name, key.Err)
	}
	was, held := before.(lent)
	if now, ok := key.Signer.(lent); ok && held && was.users == now.users {
		return before, false, nil
	}
	return lend(key.Signer), true, nil
}
