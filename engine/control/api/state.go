package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// A Key is the public half of a key.
type Key struct {
	Name        string           `json:"name"`
	Aliases     []string         `json:"aliases" nullable:"false" doc:"what vendors' APIs call it, too"`
	Usable      bool             `json:"usable" doc:"it was opened"`
	Problem     string           `json:"problem,omitempty" doc:"why it was not; for those who see all registries"`
	Algorithm   policy.Algorithm `json:"algorithm,omitempty"`
	Fingerprint string           `json:"fingerprint,omitempty" doc:"SHA-256 of the public key's DER, as records have it"`
	Version     string           `json:"version,omitempty" doc:"the key store's name of the version"`
	PEM         string           `json:"pem,omitempty" doc:"the public key"`
	JWK         json.RawMessage  `json:"jwk,omitempty" doc:"the public key as a JSON Web Key; absent for SM2, which JOSE does not know"`
	Expires     time.Time        `json:"certificate_expires,omitzero" doc:"when the first certificate of its chain expires"`
}

// A Registry is a registry that policies name.
type Registry struct {
	Name      string           `json:"name"`
	Host      string           `json:"host"`
	Kind      string           `json:"kind,omitempty"`
	Instances []string         `json:"instances" nullable:"false" doc:"what vendors' APIs call it"`
	Requests  map[string]int64 `json:"requests" doc:"sent so far, by verb"`
}

// Health is how the daemon is.
type Health struct {
	Ready  bool    `json:"ready" doc:"the journal can be written"`
	Checks []Check `json:"checks" nullable:"false" doc:"of the journal, the keys and the registries that the caller sees, and for those who see all registries the sinks"`
}

// A Check is what is known of one thing that signing needs, or that its records go to.
type Check struct {
	Kind  string  `json:"kind" enum:"journal,key,registry,sink"`
	Name  string  `json:"name,omitempty"`
	State string  `json:"state" enum:"ok,lagging,failing,unknown" doc:"lagging: a sink that does not take what it is given, but not for so long that anybody need act"`
	Error string  `json:"error,omitempty" doc:"for those who see all registries"`
	Age   float64 `json:"age_seconds,omitempty" doc:"how long ago that was found out"`
}

type none struct{}

// A whole list, which is as long as the configuration has it.
type listOutput[T any] struct {
	Body struct {
		Items []T `json:"items" nullable:"false"`
	}
}

type healthOutput struct{ Body Health }

func (a *API) stateOperations() {
	const tag = "state"
	register(a, operation{id: "list-keys", method: http.MethodGet, path: "/keys", tag: tag, role: door.Viewer,
		summary: "List keys", text: "What they are, not where: no URI of a key is told."}, a.listKeys)
	register(a, operation{id: "list-registries", method: http.MethodGet, path: "/registries", tag: tag, role: door.Viewer, summary: "List registries"}, a.listRegistries)
	register(a, operation{id: "get-health", method: http.MethodGet, path: "/health", tag: tag, role: door.Viewer,
		summary: "How the daemon is", text: "Always 200: what probes want is /readyz."}, a.health)
}

// keysOf returns the names of the keys that the caller's policies may use, and of those
// that policies use which the caller sees.
func (a *API) keysOf(ctx context.Context, s session) ([]string, error) {
	all, err := a.Engine.KnownPolicies(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for i := range all {
		if p := &all[i].Policy; sees(s, p) {
			used[p.Key] = true
		}
	}
	var names []string
	for _, k := range a.Engine.Keys() {
		if s.Uses(k.Name) || used[k.Name] {
			names = append(names, k.Name)
		}
	}
	return names, nil
}

func (a *API) listKeys(ctx context.Context, s session, _ *none) (*listOutput[Key], error) {
	out := &listOutput[Key]{}
	out.Body.Items = []Key{}
	names, err := a.keysOf(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, k := range a.Engine.Keys() {
		if !slices.Contains(names, k.Name) {
			continue
		}
		key, err := keyOf(k, s.SeesAll())
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, key)
	}
	return out, nil
}

func keyOf(k engine.KeyState, inFull bool) (Key, error) {
	out := Key{Name: k.Name, Aliases: append([]string{}, k.Aliases...), Usable: k.Err == nil, Fingerprint: k.Fingerprint, Version: k.Version, Expires: k.Expires}
	if k.Err != nil && inFull {
		out.Problem = k.Err.Error()
	}
	if k.Public == nil {
		return out, nil
	}
	out.Algorithm, out.PEM = k.Public.Algorithm(), string(k.Public.PEM())
	jwk, err := k.Public.JWK()
	if err != nil && !errors.Is(err, kms.ErrUnsupported) {
		return out, err
	}
	out.JWK = jwk
	return out, nil
}

func (a *API) listRegistries(_ context.Context, s session, _ *none) (*listOutput[Registry], error) {
	out := &listOutput[Registry]{}
	out.Body.Items = []Registry{}
	for _, name := range a.Engine.Registries() {
		r, ok := a.Engine.Registry(name)
		if !ok || !s.Sees(name) {
			continue
		}
		item := Registry{Name: name, Host: r.Host(), Instances: append([]string{}, a.Rights.Names(s.Caller, name)...), Requests: map[string]int64{}}
		if a.Kind != nil {
			item.Kind = a.Kind(name)
		}
		for request, n := range r.Requests() {
			item.Requests[request.Method] += n
		}
		out.Body.Items = append(out.Body.Items, item)
	}
	return out, nil
}

func (a *API) health(ctx context.Context, s session, _ *none) (*healthOutput, error) {
	keys, err := a.keysOf(ctx, s)
	if err != nil {
		return nil, err
	}
	report := a.Health.Report(ctx, false)
	out := &healthOutput{Health{Ready: report.Ready, Checks: []Check{}}}
	for _, c := range report.Checks {
		if showsCheck(s, c, keys) {
			out.Body.Checks = append(out.Body.Checks, checkOf(c, s.SeesAll()))
		}
	}
	return out, nil
}

// showsCheck reports whether a caller with those keys is told of a check. Sinks get the
// records of all registries.
func showsCheck(s session, c control.HealthCheck, keys []string) bool {
	switch c.Kind {
	case engine.RegistryDependency:
		return s.Sees(c.Name)
	case engine.KeyDependency:
		return slices.Contains(keys, c.Name)
	case engine.SinkDependency:
		return s.SeesAll()
	}
	return true
}

func checkOf(c control.HealthCheck, inFull bool) Check {
	out := Check{Kind: string(c.Kind), Name: c.Name, State: c.State}
	if c.AgeSeconds != nil {
		out.Age = *c.AgeSeconds
	}
	if inFull {
		out.Error = c.Error
	}
	return out
}
