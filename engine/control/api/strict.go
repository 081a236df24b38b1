package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/strictjson"
)

// errSyntax is for a body that is no JSON, or says something twice.
var errSyntax = errors.New("the body is not JSON as it has to be")

// decodePolicy reads a policy as JSON, strictly: each field once, by its very name,
// and nothing else. What is wrong with its shape is a faultsError.
func (a *API) decodePolicy(body []byte) (policy.Policy, error) {
	var p policy.Policy
	tree, err := strictjson.Parse(body)
	if err != nil {
		return p, fmt.Errorf("%w: %w", errSyntax, err)
	}
	s := &shape{registry: a.huma.OpenAPI().Components.Schemas}
	s.check(s.registry.Schema(policyType, true, ""), tree, "")
	if len(s.faults) > 0 {
		return p, s.faults
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return p, faultsError{{Problem: err.Error()}} // the selectors are their own judges
	}
	if faults := p.Validate(); len(faults) > 0 {
		return p, policyFaults(faults)
	}
	return p, nil
}

// A shape compares what was sent with a schema: the names of fields, of which
// encoding/json takes others that differ in case, and the kinds of values.
type shape struct {
	registry huma.Registry
	faults   faultsError
}

func (s *shape) fault(field, problem, allowed string) {
	if len(s.faults) < maxFaults {
		s.faults = append(s.faults, Fault{field, problem, allowed})
	}
}

func (s *shape) check(schema *huma.Schema, v any, field string) {
	for schema.Ref != "" {
		schema = s.registry.SchemaFromRef(schema.Ref)
	}
	kind := kindOf(v)
	if len(schema.OneOf) > 0 {
		i := slices.IndexFunc(schema.OneOf, func(one *huma.Schema) bool { return one.Type == kind })
		if i < 0 {
			s.fault(field, "is "+article(kind), policy.SelectorAllowed)
			return
		}
		schema = schema.OneOf[i]
	}
	if schema.Type != kind {
		s.fault(field, "is "+article(kind), article(schema.Type))
		return
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			s.check(schema.Items, item, field+"["+strconv.Itoa(i)+"]")
		}
	case map[string]any:
		s.object(schema, v, field)
	}
}

func (s *shape) object(schema *huma.Schema, fields map[string]any, field string) {
	prefix := field
	if prefix != "" {
		prefix += "."
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		known := schema.Properties[name]
		if known == nil {
			s.fault(prefix+name, "is not a field", strings.Join(slices.Sorted(maps.Keys(schema.Properties)), ", "))
			continue
		}
		s.check(known, fields[name], prefix+name)
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return huma.TypeString
	case bool:
		return huma.TypeBoolean
	case json.Number:
		return huma.TypeNumber
	case []any:
		return huma.TypeArray
	case map[string]any:
		return huma.TypeObject
	}
	return "null"
}

func article(kind string) string {
	switch kind {
	case "null":
		return "null"
	case huma.TypeArray:
		return "a list"
	case huma.TypeObject:
		return "an object"
	}
	return "a " + kind
}
