package apig

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealwright/sealwright/engine/journal"
)

// Every API is published in the one environment that the vendor always has.
const (
	environment     = "DEFAULT_ENVIRONMENT_RELEASE_ID"
	environmentName = "RELEASE"
	// typePrivate is the vendor's number for an API that is not on sale.
	typePrivate = 2
	// noTags is how the vendor's clients ask for APIs without tags, which all are.
	noTags = "#no_tags#"
	// maxBound is how many APIs can be bound at once.
	maxBound = 100
)

// A binding is one as it is answered.
type binding struct {
	PublishID string    `json:"publish_id"`
	APIID     string    `json:"api_id"`
	Group     string    `json:"group_name"`
	Bound     time.Time `json:"binding_time"`
	EnvID     string    `json:"env_id"`
	Env       string    `json:"env_name"`
	APIType   int       `json:"api_type"`
	APIName   string    `json:"api_name"`
	ID        string    `json:"id"`
	Remark    string    `json:"api_remark"`
	SignID    string    `json:"sign_id"`
	SignName  string    `json:"sign_name"`
	Tags      []string  `json:"tags"`
}

// A keyedBinding is one with its signature key.
type keyedBinding struct {
	binding
	Key    string `json:"sign_key"`
	Secret string `json:"sign_secret"`
	Type   string `json:"sign_type"`
}

// A publishedAPI is an API that a signature key can be bound to, as it is answered.
type publishedAPI struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	GroupID   string   `json:"group_id"`
	Group     string   `json:"group_name"`
	Type      int      `json:"type"`
	Auth      string   `json:"auth_type"`
	PublishID string   `json:"publish_id"`
	URI       string   `json:"req_uri"`
	EnvID     string   `json:"run_env_id"`
	Env       string   `json:"run_env_name"`
	Remark    string   `json:"remark"`
	SignName  string   `json:"signature_name,omitempty"`
	Tags      []string `json:"tags"`
}

// api returns one by its id. One that a key is bound to and that is no longer there is
// known by its id.
func (h *handler) api(registry, id string) (API, bool) {
	all := h.o.APIs(registry)
	if i := slices.IndexFunc(all, func(a API) bool { return a.ID == id }); i >= 0 {
		return all[i], true
	}
	kind, _, _ := strings.Cut(id, ":")
	return API{ID: id, Name: id, Kind: kind}, false
}

func bindingOf(b journal.SignatureBinding, a API, k journal.SignatureKey) binding {
	return binding{PublishID: a.ID, APIID: a.ID, Group: a.Kind, Bound: b.BoundAt, EnvID: environment, Env: environmentName,
		APIType: typePrivate, APIName: a.Name, ID: b.ID, SignID: k.ID, SignName: k.Name, Tags: []string{}}
}

func keyed(b binding, k journal.SignatureKey) keyedBinding {
	shown := masked(k)
	return keyedBinding{binding: b, Key: shown.Key, Secret: shown.Secret, Type: shown.Type}
}

// parseBinding reads which signature key shall be bound to which APIs, each once.
func parseBinding(body []byte) (id string, apis []string, err error) {
	doc, err := parse(body)
	if err != nil {
		return "", nil, err
	}
	if id, err = doc.text("sign_id"); err != nil {
		return "", nil, err
	}
	if id == "" {
		return "", nil, missing("sign_id")
	}
	if apis, err = doc.texts("publish_ids", maxBound); err != nil {
		return "", nil, err
	}
	if !isID(id) {
		return "", nil, noKey(id)
	}
	slices.Sort(apis)
	return id, slices.Compact(apis), nil
}

func (h *handler) bind(ctx context.Context, c call) (answer, error) {
	id, apis, err := parseBinding(c.body)
	if err != nil {
		return answer{}, err
	}
	var wanted []journal.SignatureBinding
	for _, api := range apis {
		switch a, there := h.api(c.registry, api); {
		case !there:
			return answer{}, noAPI(api)
		case a.Refused != "":
			return answer{}, invalid("publish_ids", a.Refused)
		}
		wanted = append(wanted, journal.SignatureBinding{ID: randomHex(), API: api})
	}
	var k journal.SignatureKey
	var bound []journal.SignatureBinding
	err = h.change(ctx, c, "AssociateSignatureKeyV2", "signs/"+id+" with "+strings.Join(apis, ", "), func(ctx context.Context) (err error) {
		k, bound, err = h.o.Journal.BindSignatureKey(ctx, c.registry, id, wanted)
		return fromJournal(err, id)
	})
	if err != nil {
		return answer{}, err
	}
	said := struct {
		Bindings []keyedBinding `json:"bindings"`
	}{}
	for _, b := range bound {
		a, _ := h.api(c.registry, b.API)
		said.Bindings = append(said.Bindings, keyed(bindingOf(b, a, k), k))
	}
	return answer{http.StatusCreated, said}, nil
}

func (h *handler) unbind(ctx context.Context, c call) (answer, error) {
	if !isID(c.id) {
		return answer{}, noBinding()
	}
	err := h.change(ctx, c, "DisassociateSignatureKeyV2", "sign-bindings/"+c.id, func(ctx context.Context) error {
		err := h.o.Journal.UnbindSignatureKey(ctx, c.registry, c.id)
		if errors.Is(err, journal.ErrNotFound) {
			return noBinding()
		}
		return err
	})
	return answer{status: http.StatusNoContent}, err
}

// An apiFilter chooses APIs in lists.
type apiFilter struct{ id, name, group, env, tags string }

func (f *filter) apis() apiFilter {
	return apiFilter{id: f.text("api_id"), name: f.text("api_name"), group: f.text("group_id"), env: f.text("env_id"), tags: f.text("tags")}
}

func (f apiFilter) takes(a API) bool {
	return (f.id == "" || f.id == a.ID) && matches(a.Name, f.name, false) && (f.group == "" || f.group == a.Kind) &&
		(f.env == "" || f.env == environment) && (f.tags == "" || f.tags == noTags)
}

// A view is a registry's signature keys and bindings.
type view struct {
	keys     map[string]journal.SignatureKey // by id
	bindings []journal.SignatureBinding
}

// view reads bindings first: a key that is gone since takes its bindings with it.
func (h *handler) view(ctx context.Context, registry string) (view, error) {
	bindings, err := h.o.Journal.SignatureBindings(ctx, registry)
	if err != nil {
		return view{}, err
	}
	keys, err := h.o.Journal.SignatureKeys(ctx, registry)
	if err != nil {
		return view{}, err
	}
	v := view{keys: map[string]journal.SignatureKey{}}
	for _, k := range keys {
		v.keys[k.ID] = k
	}
	for _, b := range bindings {
		if _, there := v.keys[b.KeyID]; there {
			v.bindings = append(v.bindings, b)
		}
	}
	return v, nil
}

func (h *handler) boundAPIs(ctx context.Context, c call) (answer, error) {
	f := filter{query: c.query}
	id, which, part := f.required("sign_id"), f.apis(), f.page()
	if f.wrong != nil {
		return answer{}, f.wrong
	}
	v, err := h.view(ctx, c.registry)
	if err != nil {
		return answer{}, err
	}
	k, there := v.keys[id]
	if !there {
		return answer{}, noKey(id)
	}
	var found []binding
	for _, b := range v.bindings {
		if a, _ := h.api(c.registry, b.API); b.KeyID == id && which.takes(a) {
			found = append(found, bindingOf(b, a, k))
		}
	}
	items, n := cut(part, found)
	return answer{http.StatusOK, struct {
		listing
		Bindings []binding `json:"bindings"`
	}{n, items}}, nil
}

// unboundAPIs lists those that are not bound to a signature key, but may be to another
// one, which is named.
func (h *handler) unboundAPIs(ctx context.Context, c call) (answer, error) {
	f := filter{query: c.query}
	id, which, part := f.required("sign_id"), f.apis(), f.page()
	if f.wrong != nil {
		return answer{}, f.wrong
	}
	v, err := h.view(ctx, c.registry)
	if err != nil {
		return answer{}, err
	}
	if _, there := v.keys[id]; !there {
		return answer{}, noKey(id)
	}
	bound := map[string]journal.SignatureKey{}
	for _, b := range v.bindings {
		bound[b.API] = v.keys[b.KeyID]
	}
	var found []publishedAPI
	for _, a := range h.o.APIs(c.registry) {
		if bound[a.ID].ID == id || !which.takes(a) {
			continue
		}
		found = append(found, publishedAPI{ID: a.ID, Name: a.Name, GroupID: a.Kind, Group: a.Kind, Type: typePrivate, Auth: "NONE", PublishID: a.ID,
			EnvID: environment, Env: environmentName, SignName: bound[a.ID].Name, Tags: []string{}})
	}
	items, n := cut(part, found)
	return answer{http.StatusOK, struct {
		listing
		APIs []publishedAPI `json:"apis"`
	}{n, items}}, nil
}

func (h *handler) boundSigns(ctx context.Context, c call) (answer, error) {
	f := filter{query: c.query}
	api, id, name, env, part := f.required("api_id"), f.text("sign_id"), f.text("sign_name"), f.text("env_id"), f.page()
	if f.wrong != nil {
		return answer{}, f.wrong
	}
	v, err := h.view(ctx, c.registry)
	if err != nil {
		return answer{}, err
	}
	a, there := h.api(c.registry, api)
	var found []keyedBinding
	for _, b := range v.bindings {
		if b.API != api {
			continue
		}
		there = true
		k := v.keys[b.KeyID]
		if (id == "" || id == k.ID) && matches(k.Name, name, false) && (env == "" || env == environment) {
			found = append(found, keyed(bindingOf(b, a, k), k))
		}
	}
	if !there {
		return answer{}, noAPI(api)
	}
	items, n := cut(part, found)
	return answer{http.StatusOK, struct {
		listing
		Bindings []keyedBinding `json:"bindings"`
	}{n, items}}, nil
}
