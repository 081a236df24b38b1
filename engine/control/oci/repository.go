package oci

import (
	"context"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/registry"
)

// A repositoryName is a repository of a registry.
type repositoryName struct{ registry, name string }

// A repositoryRecord is a repository as Oracle's clients read it. What a registry does
// not tell is left out.
type repositoryRecord struct {
	CompartmentID  string   `json:"compartmentId"`
	DisplayName    string   `json:"displayName"`
	ID             string   `json:"id"`
	LifecycleState string   `json:"lifecycleState"`
	Namespace      string   `json:"namespace"`
	FreeformTags   struct{} `json:"freeformTags"`
	DefinedTags    struct{} `json:"definedTags"`
	SystemTags     struct{} `json:"systemTags"`
}

// A repositoryCollection is a page of repositories.
type repositoryCollection struct {
	collection
	RepositoryCount int `json:"repositoryCount"`
}

// A repositoryPage is where a page of repositories begins: after that one.
type repositoryPage struct {
	Order    string `json:"o"`
	Registry string `json:"r"`
	Name     string `json:"n"`
}

func (h *handler) repositoryRecord(c *call, r repositoryName) repositoryRecord {
	return repositoryRecord{CompartmentID: h.compartmentOf(c, r.registry), DisplayName: r.name, ID: repositoryID(r.registry, r.name),
		LifecycleState: "AVAILABLE", Namespace: r.registry}
}

// matches reports whether a name is the wanted one, or begins with it where that ends
// with a star.
func matches(name, wanted string) bool {
	beginning, prefix := splitPrefix(wanted)
	return name == wanted || prefix && strings.HasPrefix(name, beginning)
}

// repositories returns those of the registries that the caller sees and that have the
// id and the name, sorted, and makes their ids known. An empty id or name is any.
func (h *handler) repositories(ctx context.Context, c *call, registries []string, id, name string) ([]repositoryName, error) {
	if id != "" {
		r, err := h.repository(ctx, c, id)
		if isNotFound(err) || err == nil && (!slices.Contains(registries, r.Registry) || name != "" && !matches(r.Repository, name)) {
			return nil, nil
		}
		return []repositoryName{{r.Registry, r.Repository}}, err
	}
	var all []repositoryName
	for _, registryName := range registries {
		names, err := h.catalog(ctx, c, registryName, name)
		if err != nil {
			return nil, err
		}
		if err := h.keep(ctx, registryName, names...); err != nil {
			return nil, err
		}
		for _, n := range names {
			all = append(all, repositoryName{registryName, n})
		}
	}
	return all, nil
}

// catalog lists the repositories of a registry that the caller sees and wants, sorted.
func (h *handler) catalog(ctx context.Context, c *call, registryName, wanted string) ([]string, error) {
	names, err := h.Engine.Repositories(ctx, registryName, func(name string) bool {
		return (wanted == "" || matches(name, wanted)) && c.caller.SeesNamespace(registryName, name)
	})
	if err != nil {
		return nil, registryFault(err, notFound())
	}
	return slices.Collect(names), nil
}

func (h *handler) listRepositories(ctx context.Context, c *call) (answer, error) {
	registries, err := h.compartments(c)
	if err != nil {
		return answer{}, err
	}
	var id, name string
	if err := c.query.texts(map[string]*string{"repositoryId": &id, "displayName": &name}); err != nil {
		return answer{}, err
	}
	state, err := c.query.word("lifecycleState", "AVAILABLE", "DELETING", "DELETED")
	if err != nil {
		return answer{}, err
	}
	if state != "" && state != "AVAILABLE" {
		registries = nil
	}
	sorted, err := c.sortedBy()
	if err != nil {
		return answer{}, err
	}
	if _, there := c.query["sortOrder"]; !there {
		sorted.Order = ascending // by name: no registry says when a repository came
	}
	all, err := h.repositories(ctx, c, registries, id, name)
	if err != nil {
		return answer{}, err
	}
	if sorted.Order == descending {
		slices.Reverse(all)
	}
	return h.repositoryPage(c, all, sorted.Order)
}

// repositoryPage cuts a page out of all repositories.
func (h *handler) repositoryPage(c *call, all []repositoryName, order string) (answer, error) {
	limit, err := c.query.limit()
	if err != nil {
		return answer{}, err
	}
	var after repositoryPage
	there, err := c.query.page(&after)
	if err != nil {
		return answer{}, err
	}
	if there && after.Order != order {
		return answer{}, invalid("page", "it is of a list that is sorted in another way")
	}
	rest := all
	if there {
		rest = slices.DeleteFunc(slices.Clone(all), func(r repositoryName) bool {
			place := comparePlaces(r, repositoryName{after.Registry, after.Name})
			return place == 0 || (place < 0) == (order == ascending)
		})
	}
	n := min(limit, len(rest))
	items := make([]repositoryRecord, n)
	for i, r := range rest[:n] {
		items[i] = h.repositoryRecord(c, r)
	}
	a := answer{body: repositoryCollection{collection{Items: items, Remaining: int64(len(rest) - n)}, len(all)}}
	if n < len(rest) {
		a.nextPage, err = pageToken(repositoryPage{Order: order, Registry: rest[n-1].registry, Name: rest[n-1].name})
	}
	return a, err
}

func comparePlaces(a, b repositoryName) int {
	if a.registry != b.registry {
		return strings.Compare(a.registry, b.registry)
	}
	return strings.Compare(a.name, b.name)
}

func (h *handler) getRepository(ctx context.Context, c *call) (answer, error) {
	r, err := h.repository(ctx, c, c.id)
	if err != nil {
		return answer{}, err
	}
	inventory, ok := h.Engine.Registry(r.Registry)
	if !ok {
		return answer{}, notFound()
	}
	// Asking for no tag costs the one request that says whether it is there.
	none := func(string) bool { return false }
	for a, err := range inventory.Artifacts(ctx, registry.Query{Repository: r.Repository, Tags: none}) {
		if err != nil && a.Repository == "" {
			return answer{}, registryFault(err, notFound())
		}
	}
	return answer{body: h.repositoryRecord(c, repositoryName{r.Registry, r.Repository})}, nil
}

// A configuration is what is true of all repositories of a compartment.
type configuration struct {
	CreatedOnFirstPush bool   `json:"isRepositoryCreatedOnFirstPush"`
	Namespace          string `json:"namespace"`
}

// getConfiguration says which namespace the URIs of images begin with: the registry's
// name; for the root compartment, that of the first registry that the caller sees.
func (h *handler) getConfiguration(_ context.Context, c *call) (answer, error) {
	registries, err := h.compartments(c)
	if err != nil {
		return answer{}, err
	}
	if len(registries) == 0 {
		all := h.Rights.Instances(c.caller)
		if len(all) == 0 {
			return answer{}, notFound()
		}
		registries = []string{all[0].Registry}
	}
	return answer{body: configuration{CreatedOnFirstPush: true, Namespace: registries[0]}}, nil
}
