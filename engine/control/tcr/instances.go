package tcr

import (
	"context"
	"slices"

	"github.com/sealwright/sealwright/engine/control/rights"
)

// An instanceInfo is what DescribeInstances says of a registry.
type instanceInfo struct {
	RegistryID       string `json:"RegistryId"`
	RegistryName     string
	RegistryType     string
	Status           string
	PublicDomain     string
	CreatedAt        string
	RegionName       string
	RegionID         int64 `json:"RegionId"`
	EnableAnonymous  bool
	InternalEndpoint string
	TagSpecification tagSpecification
	PayMod           int
}

type instances struct {
	TotalCount int
	Registries []instanceInfo
	answer
}

// describeInstances lists the registries that the caller sees. Its Offset counts
// registries, not pages.
func (a *api) describeInstances(_ context.Context, c *call, p *params) (any, error) {
	ids := p.texts("Registryids")
	filters := p.filters("RegistryName", "Tags")
	limit, offset := p.number("Limit", defaultLimit, maxLimit), p.number("Offset", 0, maxOffset)
	_ = p.flag("AllRegion") // there is one region
	if err := p.end(); err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultLimit
	}
	var list []instanceInfo
	for _, i := range a.chosen(c, ids) {
		if r, ok := a.Engine.Registry(i.Registry); ok && passes(i, filters) {
			list = append(list, instanceInfo{RegistryID: i.ID, RegistryName: i.Registry, RegistryType: "premium", Status: "Running",
				PublicDomain: r.Host(), TagSpecification: tagSpecification{ResourceType: "instance", Tags: []struct{}{}}})
		}
	}
	said := instances{TotalCount: len(list), Registries: []instanceInfo{}, answer: c.done()}
	begin := min(offset, len(list))
	said.Registries = append(said.Registries, list[begin:min(len(list), begin+limit)]...)
	return said, nil
}

// chosen returns the instances of those ids, or all.
func (a *api) chosen(c *call, ids []string) []rights.Instance {
	if len(ids) == 0 {
		return a.Rights.Instances(c.caller)
	}
	var list []rights.Instance
	for i, id := range ids {
		if registry, err := a.Rights.Registry(c.caller, id); err == nil && !slices.Contains(ids[:i], id) {
			list = append(list, rights.Instance{ID: id, Registry: registry})
		}
	}
	return list
}

// passes reports whether an instance is what all filters ask for. None here has a
// tag of Tencent's cloud.
func passes(i rights.Instance, filters []filter) bool {
	for _, f := range filters {
		if f.name != "RegistryName" || !slices.Contains(f.values, i.Registry) {
			return false
		}
	}
	return true
}
