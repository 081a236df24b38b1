package swr

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/engine/strictjson"
)

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

// Object reads one JSON object, as maps, slices and strings, and refuses what readers
// understand in different ways.
func Object(data []byte) (map[string]any, error) {
	value, err := strictjson.Parse(data)
	if twice, ok := errors.AsType[*strictjson.NameError](err); ok {
		return nil, fmt.Errorf("the body has the name %s twice in one object", quote(twice.Name))
	}
	switch {
	case errors.Is(err, strictjson.ErrTrailing):
		return nil, errors.New("the body is not JSON: something follows the object")
	case errors.Is(err, strictjson.ErrValues):
		return nil, fmt.Errorf("the body has %w", err)
	case err != nil:
		return nil, fmt.Errorf("the body is %w", err)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the body is a JSON %s", typeOf(value))
	}
	return fields, nil
}
