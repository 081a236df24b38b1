package swr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/policy"
)

// maxDepth is how deep what a client sends may be nested: a policy takes six levels.
const maxDepth = 16

// Parse reads what a client sends to create or replace a policy. Fields that SWR
// does not have are passed over, as SWR does. What is not JSON, ambiguous, of a
// wrong type or missing is a fault.
func Parse(data []byte) (Document, []policy.Fault) {
	root, err := Object(data)
	if err != nil {
		return Document{}, []policy.Fault{{Problem: err.Error(), Allowed: "one JSON object"}}
	}
	var v faults
	o := object{fields: root, v: &v}
	d := Document{
		Name:        o.text("name", true),
		Description: o.optional("description"),
		Enabled:     o.truth("enabled"),
		Method:      o.text("signature_method", true),
		Algorithm:   o.text("signature_algorithm", true),
		Key:         o.text("signature_key", true),
		Trigger:     parseTrigger(o),
	}
	for _, rule := range o.objects("scope_rules", true) {
		d.ScopeRules = append(d.ScopeRules, parseRule(rule))
	}
	return d, v
}

func parseTrigger(o object) Trigger {
	t, ok := o.object("trigger", true)
	if !ok {
		return Trigger{}
	}
	trigger := Trigger{Type: t.text("type", true)}
	if s, ok := t.object("trigger_settings", false); ok {
		trigger.Settings = &Settings{Cron: s.text("cron", false)}
	}
	return trigger
}

func parseRule(o object) ScopeRule {
	rule := ScopeRule{TagSelectors: parseSelectors(o, "tag_selectors"), Mode: o.text("repo_scope_mode", false)}
	scope, ok := o.object("scope_selectors", true)
	if !ok {
		return rule
	}
	rule.ScopeSelectors = map[string][]Selector{}
	for name := range scope.fields {
		rule.ScopeSelectors[name] = nil
	}
	rule.ScopeSelectors[Repository] = parseSelectors(scope, Repository)
	return rule
}

func parseSelectors(o object, name string) []Selector {
	var list []Selector
	for _, s := range o.objects(name, true) {
		list = append(list, Selector{Kind: s.text("kind", true), Decoration: s.text("decoration", true), Pattern: s.text("pattern", true), Extras: s.optional("extras")})
	}
	return list
}

// An object is a JSON object under a path. Fields that are null count as missing.
type object struct {
	fields map[string]any
	path   string
	v      *faults
}

func (o object) at(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// get returns a field that has the type of T, and reports one that has not.
func get[T any](o object, name, want string, required bool) (T, bool) {
	var none T
	value := o.fields[name]
	if value == nil {
		if required {
			o.v.add(o.at(name), "is required", want)
		}
		return none, false
	}
	typed, ok := value.(T)
	if !ok {
		o.v.add(o.at(name), "is a JSON "+typeOf(value), want)
	}
	return typed, ok
}

func (o object) text(name string, required bool) string {
	s, _ := get[string](o, name, "a string", required)
	return s
}

func (o object) optional(name string) *string {
	if s, ok := get[string](o, name, "a string", false); ok {
		return &s
	}
	return nil
}

func (o object) truth(name string) bool {
	b, _ := get[bool](o, name, "true or false", true)
	return b
}

func (o object) object(name string, required bool) (object, bool) {
	fields, ok := get[map[string]any](o, name, "an object", required)
	return object{fields: fields, path: o.at(name), v: o.v}, ok
}

func (o object) objects(name string, required bool) []object {
	list, _ := get[[]any](o, name, "a list of objects", required)
	var out []object
	for i, item := range list {
		path := o.at(name) + "[" + strconv.Itoa(i) + "]"
		fields, ok := item.(map[string]any)
		if !ok {
			o.v.add(path, "is a JSON "+typeOf(item), "an object")
			continue
		}
		out = append(out, object{fields: fields, path: path, v: o.v})
	}
	return out
}

func typeOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "truth value"
	case json.Number:
		return "number"
	case []any:
		return "list"
	}
	return "object"
}

// Object reads one JSON object, as maps, slices and strings. It refuses what
// readers understand in different ways: names that are there twice, text after the
// object, bytes that are no text, and nesting without need.
func Object(data []byte) (map[string]any, error) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, fmt.Errorf("the body is empty")
	case !utf8.Valid(data):
		return nil, fmt.Errorf("the body is not UTF-8")
	case !json.Valid(data):
		return nil, fmt.Errorf("the body is not JSON")
	}
	r := reader{json.NewDecoder(bytes.NewReader(data))}
	r.tokens.UseNumber()
	value, err := r.value(0)
	if err != nil {
		return nil, err
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the body is a JSON %s", typeOf(value))
	}
	return fields, nil
}

// A reader reads valid JSON.
type reader struct{ tokens *json.Decoder }

func (r reader) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("the body is nested more than %d levels deep", maxDepth)
	}
	token, err := r.tokens.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return r.object(depth)
	case json.Delim('['):
		list := []any{}
		for r.tokens.More() {
			item, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err := r.tokens.Token()
		return list, err
	}
	return token, nil
}

func (r reader) object(depth int) (any, error) {
	fields := map[string]any{}
	for r.tokens.More() {
		token, err := r.tokens.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // of valid JSON it is one
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("the body has the name %s twice in one object", quote(name))
		}
		if fields[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err := r.tokens.Token()
	return fields, err
}
