package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/control/swr"
	"github.com/sealwright/sealwright/engine/control/tcr"
	"github.com/sealwright/sealwright/registry/event"
)

// What APIG's callers bind signature keys to.
const (
	sinkAPI  = "sink:"   // and its name
	eventAPI = "events:" // and the registry's name
)

// networkAPIs are the APIs of who proves to the door who it is.
func (d *service) networkAPIs() control.APIs {
	log := d.log.Named("api")
	return control.APIs{
		Own:  d.ownAPI(nil, d.rights.Turns()),
		SWR:  swr.New(swr.Options{Engine: d.engine, Journal: d.journal, Door: d.door, Rights: d.rights, Log: log}),
		TCR:  tcr.New(tcr.Options{Engine: d.engine, Door: d.door, Rights: d.rights, Log: log}),
		OCI:  oci.New(oci.Options{Engine: d.engine, Journal: d.journal, Door: d.door, Rights: d.rights, Keys: d.opener, Log: log}),
		APIG: apig.New(apig.Options{Journal: d.journal, Door: d.door, Rights: d.rights, Log: log, Seal: d.seal, APIs: d.boundTo}),
	}
}

// ownAPI is the API of who is known by authenticate, nil for the door. It is drained
// when the daemon stops.
func (d *service) ownAPI(authenticate func(*http.Request) (door.Caller, error), turns *rights.Turns) *api.API {
	a := api.New(api.Options{Engine: d.engine, Journal: d.journal, Door: d.door, Rights: d.rights, Health: d.health, Log: d.log.Named("api"),
		Authenticate: authenticate, Turns: turns, Kind: d.kind})
	d.draining = append(d.draining, a.Drain)
	return a
}

// local is who opens the control socket.
func local(r *http.Request) (door.Caller, error) { return control.Local(r), nil }

func (d *service) kind(registry string) string {
	if r, ok := d.inForce().Registry(registry); ok {
		return string(r.Kind)
	}
	return ""
}

// boundTo are the ends of requests that signature keys sign, as APIG's callers see
// them: of a registry what its events come in at, of no registry the sinks, which get
// what was signed in every one.
func (d *service) boundTo(registry string) []apig.API {
	cfg := d.inForce()
	if r, ok := cfg.Registry(registry); ok && !r.Events.IsZero() {
		return []apig.API{{ID: eventAPI + registry, Name: registry, Kind: "events"}}
	}
	if registry != "" {
		return nil
	}
	var list []apig.API
	for _, s := range cfg.Sinks {
		if s.Kind != configs.WebhookSink {
			continue
		}
		a := apig.API{ID: sinkAPI + s.Name, Name: s.Name, Kind: "sinks"}
		if s.TokenFile != "" {
			a.Refused = fmt.Sprintf("the sink %q sends the token of its token_file in the header that signs; allowed: a sink without token_file", s.Name)
		}
		list = append(list, a)
	}
	return list
}

// inForce returns the configuration that is in force, to any goroutine.
func (d *service) inForce() *configs.Config { return d.current.Load() }

// reseal encrypts with the current key what former ones encrypted.
func (d *service) reseal(ctx context.Context) error {
	if d.seal == nil {
		return nil
	}
	n, err := d.signatureKeys.Reseal(ctx)
	if err != nil {
		return fmt.Errorf("signature_keys: %w", err)
	}
	if n > 0 {
		d.log.Info("signature keys encrypted again, former seal keys are needed no more", zap.Int("keys", n))
	}
	return nil
}

// signedBy returns what signs the requests to a sink, if a signature key is bound to
// it when one is sent.
func (d *service) signedBy(sink string) func(*http.Request, []byte) error {
	if d.seal == nil {
		return nil
	}
	return func(r *http.Request, body []byte) error {
		sign, err := d.signatureKeys.Signer(r.Context(), sinkAPI+sink)
		if err != nil || sign == nil {
			return err
		}
		return sign(r, body)
	}
}

// eventKeys are the signature keys that are bound to the events of registries.
type eventKeys struct{ keys *apig.Keys }

// Bound implements control.SignatureKeys.
func (k eventKeys) Bound(ctx context.Context, registry string) (bound, byHeader bool, err error) {
	return k.keys.Bound(ctx, eventAPI+registry)
}

// Prove implements control.SignatureKeys.
func (k eventKeys) Prove(ctx context.Context, registry string, r *http.Request, body []byte) error {
	err := k.keys.Authenticate(ctx, eventAPI+registry, r, body)
	if refused := (*apig.Refusal)(nil); errors.As(err, &refused) {
		return fmt.Errorf("%w: %s", event.ErrUnauthorized, refused.Text)
	}
	return err
}

// admits returns who counts requests before the door remembers them.
func admits(each ...func(door.Caller, *http.Request) error) func(door.Caller, *http.Request) error {
	each = slices.Clone(each)
	return func(c door.Caller, r *http.Request) error {
		for _, admit := range each {
			if err := admit(c, r); err != nil {
				return err
			}
		}
		return nil
	}
}
