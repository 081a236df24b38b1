package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/sealwright/sealwright/engine/policy"
)

// errSyntax is for a body that is no JSON, or says something twice.
var errSyntax = errors.New("the body is not JSON as it has to be")

// maxDepth is how deep a body may be nested. A policy is 5 deep.
const maxDepth = 32

// decodePolicy reads a policy as JSON, strictly: each field once, by its very name,
// and nothing else. What is wrong with its shape is a faultsError.
func (a *API) decodePolicy(body []byte) (policy.Policy, error) {
	var p policy.Policy
	tree, err := parseJSON(body)
	if err != nil {
		return p, err
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

// parseJSON reads one value in which no object has a name twice. What reads JSON
// takes the last one, or the first; and another reader the other.
func parseJSON(body []byte) (any, error) {
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: it is not UTF-8", errSyntax)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends too early", errSyntax)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errSyntax, err)
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth >= maxDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	var v any
	if delim == '[' {
		v, err = parseArray(d, depth)
	} else {
		v, err = parseObject(d, depth)
	}
	if err != nil {
		return nil, err
	}
	_, err = d.Token() // the end, or it would not be JSON
	return v, err
}

func parseArray(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := parseValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func parseObject(d *json.Decoder, depth int) (any, error) {
	fields := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // or it would not be JSON
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("field %q is given twice", clip(name))
		}
		if fields[name], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	return fields, nil
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
