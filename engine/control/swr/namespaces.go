package swr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/policy/swr"
)

// countTime is how long an answer waits for numbers that it can do without.
const countTime = 5 * time.Second

// repositories returns how many repositories each namespace of a registry has.
func (a *API) repositories(ctx context.Context, registry string) (map[string]int, error) {
	names, err := a.Engine.Repositories(ctx, registry, func(name string) bool {
		namespace, _, ok := strings.Cut(name, "/")
		return ok && validNamespace(namespace)
	})
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for name := range names {
		namespace, _, _ := strings.Cut(name, "/")
		n[namespace]++
	}
	return n, nil
}

// A namespace is one as SWR shows it.
type namespace struct {
	Name         string            `json:"name"`
	Metadata     map[string]string `json:"metadata"`
	NamespaceID  int32             `json:"namespace_id"`
	Repositories *int              `json:"repo_count,omitempty"`
}

func namespaceID(registry, name string) int32 { return derived("namespace", registry, name) }

func newNamespace(registry, name string) namespace {
	return namespace{Name: name, Metadata: map[string]string{"public": "false"}, NamespaceID: namespaceID(registry, name)}
}

// occupied returns the namespaces that the caller sees in which there is something:
// a repository, or a policy. repositories are how many of the former.
func (a *API) occupied(ctx context.Context, c *call) (map[string]int, error) {
	repositories, err := a.repositories(ctx, c.registry)
	if err != nil {
		return nil, err
	}
	all := map[string]int{}
	for name, n := range repositories {
		if c.caller.SeesNamespace(c.registry, name) {
			all[name] = n
		}
	}
	names, err := a.governed(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		all[name] += 0
	}
	return all, nil
}

// governed returns the namespaces that the caller sees which have policies, in
// whatever words.
func (a *API) governed(ctx context.Context, c *call) ([]string, error) {
	policies, err := a.Engine.KnownPolicies(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range policies {
		if p.Policy.Registry == c.registry && validNamespace(p.Policy.Namespace) && c.caller.SeesNamespace(c.registry, p.Policy.Namespace) {
			names = append(names, p.Policy.Namespace)
		}
	}
	return names, nil
}

func (a *API) listNamespaces(ctx context.Context, c *call) (any, error) {
	offset, limit, err := c.page()
	if err != nil {
		return nil, err
	}
	name, nameErr := c.one("name")
	public, publicErr := c.one("public")
	_, columnErr := c.choice("order_column", "updated_at")
	order, orderErr := c.choice("order_type", "desc", "asc")
	if err := errors.Join(nameErr, publicErr, columnErr, orderErr); err != nil {
		return nil, err
	}
	all, err := a.occupied(ctx, c)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(all)) // there are no times to order by
	if order == "desc" {
		slices.Reverse(names)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return name != "" && n != name || public == "true" })
	list := []namespace{}
	for _, name := range paged(names, offset, limit) {
		n, count := newNamespace(c.registry, name), all[name]
		n.Repositories = &count
		list = append(list, n)
	}
	return struct {
		Namespaces []namespace `json:"namespaces"`
		Total      int         `json:"total"`
	}{list, len(names)}, nil
}

// showNamespace shows any: what nothing is in yet can be pushed to and have policies.
func (a *API) showNamespace(ctx context.Context, c *call) (any, error) {
	n := newNamespace(c.registry, c.namespace)
	counting, cancel := context.WithTimeout(ctx, a.limits.countTime)
	defer cancel()
	repositories, err := a.repositories(counting, c.registry)
	if err != nil {
		a.Log.Warn("repositories not counted", zap.String("request", c.id), zap.Error(err))
		return n, nil
	}
	count := repositories[c.namespace]
	n.Repositories = &count
	return n, nil
}

// createNamespace checks that there can be one of that name. A registry has a
// namespace as soon as something is pushed to it: nothing has to be made.
func (a *API) createNamespace(ctx context.Context, c *call) (any, error) {
	name, err := parseNamespace(c.body)
	if err != nil {
		return nil, err
	}
	if !c.caller.SeesNamespace(c.registry, name) {
		return nil, fmt.Errorf("%w: %w", forbidden("You may not use a namespace of this name."), rights.ErrUnknown)
	}
	all, err := a.occupied(ctx, c)
	if err != nil {
		return nil, err
	}
	if _, there := all[name]; there {
		return nil, conflict("The namespace exists already.")
	}
	err = a.change(ctx, c, name, func(context.Context) error { return nil })
	return identified{int64(namespaceID(c.registry, name))}, err
}

// parseNamespace reads a namespace's name. What cannot be had is refused: who may
// pull is the registry's to say, and nothing scans here.
func parseNamespace(body []byte) (string, error) {
	fields, err := swr.Object(body)
	if err != nil {
		return "", &failure{status: http.StatusBadRequest, code: codeInvalid, text: "Invalid parameter. " + err.Error()}
	}
	name, _ := fields["namespace_name"].(string)
	if !validNamespace(name) {
		return "", invalid("namespace_name", problem(name), namespaceAllowed)
	}
	metadata, ok := fields["metadata"].(map[string]any)
	if !ok {
		return "", invalid("metadata", "is required", `an object like {"public":"false"}`)
	}
	for _, field := range []string{"public", "auto_scan", "prevent_vul"} {
		switch value := metadata[field]; {
		case value == nil && field != "public", value == "false":
		default:
			return "", invalid("metadata."+field, "is not managed here", `"false"`)
		}
	}
	return name, nil
}

// deleteNamespace sees to it that nothing is in a namespace that its client takes
// for deleted.
func (a *API) deleteNamespace(ctx context.Context, c *call) (any, error) {
	all, err := a.occupied(ctx, c)
	if err != nil {
		return nil, err
	}
	if _, there := all[c.namespace]; there {
		return nil, conflict("The namespace is not empty: it has repositories or policies.")
	}
	return nil, a.change(ctx, c, c.namespace, func(context.Context) error { return nil })
}
