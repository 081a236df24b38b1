package tcr

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/policy/tcr"
)

const (
	defaultLimit = 20
	maxLimit     = 100
	maxOffset    = 1 << 30
)

// A namespace is what DescribeNamespaces says of one. What TCR knows and a registry
// does not tell is empty.
type namespace struct {
	Name              string
	CreationTime      string
	Public            bool
	NamespaceID       int64 `json:"NamespaceId"`
	TagSpecification  tagSpecification
	Metadata          []keyValue
	CVEWhitelistItems []struct{}
	AutoScan          bool
	PreventVUL        bool
	Severity          string
}

type tagSpecification struct {
	ResourceType string
	Tags         []struct{}
}

type keyValue struct{ Key, Value string }

type namespaces struct {
	NamespaceList []namespace
	TotalCount    int
	answer
}

// describeNamespaces lists the namespaces of a registry, with their policies.
func (a *api) describeNamespaces(ctx context.Context, c *call, p *params) (any, error) {
	i, err := a.instance(c, p, door.Viewer)
	if err != nil {
		return nil, err
	}
	only, all, signing := p.optional("NamespaceName"), p.flag("All"), p.flag("KmsSignPolicy")
	tagged := len(p.filters("Tags")) > 0
	page := pageOf(p)
	if err := p.end(); err != nil {
		return nil, err
	}
	if only != "" && !validNamespace(only) {
		return nil, invalid("NamespaceName", only, namespaceAllowed)
	}
	policies, err := a.documents(ctx, c, i.Registry)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(policies))
	if !signing {
		if names, err = a.namespaces(ctx, c, i.Registry, only, names); err != nil {
			return nil, err
		}
	}
	if only != "" {
		names = slices.DeleteFunc(names, func(n string) bool { return n != only })
	}
	if tagged {
		names = nil // no namespace here has a tag of Tencent's cloud
	}
	said := namespaces{NamespaceList: []namespace{}, TotalCount: len(names), answer: c.done()}
	if !all {
		names = cut(page, names)
	}
	for _, name := range names {
		said.NamespaceList = append(said.NamespaceList, describe(i.Registry, name, policies[name]))
	}
	return said, nil
}

// A page is one of a listing.
type page struct{ number, size int }

// pageOf reads Limit and Offset, where Offset is the number of a page, from 1 on.
func pageOf(p *params) page {
	size, number := p.number("Limit", defaultLimit, maxLimit), p.number("Offset", 1, maxOffset)
	if size == 0 {
		size = defaultLimit
	}
	return page{max(1, number), size}
}

// cut returns the page of a list.
func cut[T any](p page, list []T) []T {
	begin := min(len(list), (p.number-1)*p.size)
	return list[begin:min(len(list), begin+p.size)]
}

func describe(registry, name string, metadata []byte) namespace {
	n := namespace{Name: name, NamespaceID: namespaceID(registry, name), Metadata: []keyValue{},
		TagSpecification: tagSpecification{ResourceType: "namespace", Tags: []struct{}{}}, CVEWhitelistItems: []struct{}{}}
	if metadata != nil {
		n.Metadata = append(n.Metadata, keyValue{tcr.MetadataKey, string(metadata)})
	}
	return n
}

// namespaceID returns a number that stays: registries have none for their
// namespaces. It has 48 bits, which JavaScript can count with.
func namespaceID(registry, name string) int64 {
	sum := sha256.Sum256([]byte(registry + "/" + name))
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 16) // 48 bits
}

// documents returns what the namespaces of a registry that the caller sees say of
// their policies, by name.
func (a *api) documents(ctx context.Context, c *call, registry string) (map[string][]byte, error) {
	policies, err := a.policies(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, p := range policies {
		if p.Policy.Registry != registry || !c.caller.SeesNamespace(registry, p.Policy.Namespace) {
			continue
		}
		var d tcr.Document
		if err := json.Unmarshal(p.Document, &d); err != nil {
			return nil, fmt.Errorf("reading the document of policy %q: %w", p.Policy.Name, err)
		}
		// A policy is created again when it is changed.
		if out[p.Policy.Namespace], err = json.Marshal(d.Metadata(p.UpdatedAt)); err != nil {
			return nil, fmt.Errorf("writing the metadata of policy %q: %w", p.Policy.Name, err)
		}
	}
	return out, nil
}

// namespaces returns, sorted, those that have a repository, and those that are known:
// all, or the only one that is wanted.
func (a *api) namespaces(ctx context.Context, c *call, registry, only string, known []string) ([]string, error) {
	if only != "" && slices.Contains(known, only) {
		return known, nil
	}
	if _, ok := a.Engine.Registry(registry); !ok {
		return nil, notFound("registry")
	}
	repositories, err := a.Engine.Repositories(ctx, registry, func(repository string) bool {
		name, _, ok := strings.Cut(repository, "/")
		return ok && (only == "" || name == only) && c.caller.SeesNamespace(registry, name)
	})
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, name := range known {
		found[name] = true
	}
	for repository := range repositories {
		name, _, _ := strings.Cut(repository, "/")
		found[name] = true
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// hasNamespace reports whether a namespace has a repository, for this caller.
func (a *api) hasNamespace(ctx context.Context, c *call, registry, name string) (bool, error) {
	if !c.caller.SeesNamespace(registry, name) {
		return false, nil
	}
	names, err := a.namespaces(ctx, c, registry, name, nil)
	return len(names) > 0, err
}
