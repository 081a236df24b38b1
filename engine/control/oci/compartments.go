package oci

import (
	"slices"

	"github.com/sealwright/sealwright/engine/control/rights"
)

// maxCompartmentID is how long a compartment's id may be.
const maxCompartmentID = 100

// compartments returns the registries of the compartment that a list is asked for.
// There may be none.
func (h *handler) compartments(c *call) ([]string, error) {
	id, err := c.query.text("compartmentId", maxCompartmentID)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return nil, missing("compartmentId")
	}
	subtree, _, err := c.query.flag("compartmentIdInSubtree")
	if err != nil {
		return nil, err
	}
	root := c.tenancy != "" && id == c.tenancy
	name, err := h.Rights.Registry(c.caller, id)
	switch {
	case subtree && root:
		var all []string
		for _, i := range h.Rights.Instances(c.caller) {
			all = append(all, i.Registry)
		}
		slices.Sort(all)
		return all, nil
	case err != nil && root:
		return nil, nil // nothing is in the root itself
	case err != nil:
		return nil, err
	case subtree:
		return nil, invalid("compartmentIdInSubtree", "it can be true only for the root compartment, which is your tenancy")
	}
	return []string{name}, nil
}

// compartmentOf is how the caller calls a registry.
func (h *handler) compartmentOf(c *call, registry string) string {
	all := h.Rights.Instances(c.caller)
	if i := slices.IndexFunc(all, func(i rights.Instance) bool { return i.Registry == registry }); i >= 0 {
		return all[i].ID
	}
	return registry
}
