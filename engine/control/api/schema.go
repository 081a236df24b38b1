package api

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
)

const about = "Policies say what must be signed; executions, tasks, subtasks and records, what became of it.\n\n" +
	"What a caller may not see does not exist for it: 404. Errors are RFC 9457 problems. Every answer has an X-Request-Id, " +
	"which the log and the audit log have of changes. See docs/apis/api.md."

var policyType = reflect.TypeFor[policy.Policy]()

// newHuma returns huma for the mux, without its own pages.
func newHuma(mux *http.ServeMux) huma.API {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	for kind, as := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[policy.Selector]():     reflect.TypeFor[selectorSchema](),
		reflect.TypeFor[policy.TriggerType]():  reflect.TypeFor[triggerSchema](),
		reflect.TypeFor[policy.IndexMode]():    reflect.TypeFor[indexSchema](),
		reflect.TypeFor[policy.Format]():       reflect.TypeFor[formatSchema](),
		reflect.TypeFor[policy.Algorithm]():    reflect.TypeFor[algorithmSchema](),
		reflect.TypeFor[journal.Status]():      reflect.TypeFor[statusSchema](),
		reflect.TypeFor[journal.RecordState](): reflect.TypeFor[recordStateSchema](),
		reflect.TypeFor[journal.Origin]():      reflect.TypeFor[originSchema](),
	} {
		schemas.RegisterTypeAlias(kind, as)
	}
	format := huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}
	c := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Sealwright", Version: "1", Description: about},
			Components: &huma.Components{Schemas: schemas, SecuritySchemes: map[string]*huma.SecurityScheme{
				"token":       {Type: "http", Scheme: "bearer", Description: "a token of `access` in the configuration"},
				"signature":   {Type: "apiKey", In: "header", Name: "Authorization", Description: "SDK-HMAC-SHA256 by an access key of `access`, as Huawei Cloud or Open Telekom Cloud signs requests"},
				"certificate": {Type: "mutualTLS", Description: "a client certificate of `access`"}}},
			Security: []map[string][]string{{"token": {}}, {"signature": {}}, {"certificate": {}}}, // one of them
		},
		Formats:                      map[string]huma.Format{"application/json": format, problemType: format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{fromHuma},
	}
	return humago.New(mux, c)
}

func marshal(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func words(list ...string) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, w := range list {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// Schemas of types that know nothing of huma.
type (
	selectorSchema    struct{}
	triggerSchema     struct{}
	indexSchema       struct{}
	formatSchema      struct{}
	algorithmSchema   struct{}
	statusSchema      struct{}
	recordStateSchema struct{}
	originSchema      struct{}
)

func (triggerSchema) Schema(huma.Registry) *huma.Schema   { return words(policy.TriggerTypes...) }
func (indexSchema) Schema(huma.Registry) *huma.Schema     { return words(policy.IndexModes...) }
func (formatSchema) Schema(huma.Registry) *huma.Schema    { return words(policy.Formats...) }
func (algorithmSchema) Schema(huma.Registry) *huma.Schema { return words(policy.Algorithms...) }

func (statusSchema) Schema(huma.Registry) *huma.Schema {
	return words(string(journal.Initialized), string(journal.Pending), string(journal.InProgress),
		string(journal.Succeed), string(journal.Failed), string(journal.Stopped))
}

func (recordStateSchema) Schema(huma.Registry) *huma.Schema {
	return words(string(journal.Signing), string(journal.Signed), string(journal.Broken))
}

func (originSchema) Schema(huma.Registry) *huma.Schema {
	return words(string(journal.FromFile), string(journal.FromAPI), string(journal.FromSWR), string(journal.FromTCR))
}

func (selectorSchema) Schema(huma.Registry) *huma.Schema {
	one, longest := 1, policy.MaxPattern
	pattern := &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &longest}
	patterns := &huma.Schema{Type: huma.TypeArray, Items: pattern, MinItems: &one}
	either := &huma.Schema{OneOf: []*huma.Schema{pattern, patterns}}
	object := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false, MinProperties: &one,
		Properties: map[string]*huma.Schema{"matches": either, "excludes": either}}
	return &huma.Schema{OneOf: []*huma.Schema{pattern, patterns, object},
		Description: "a pattern (** for all), a list of patterns, or matches and excludes"}
}
