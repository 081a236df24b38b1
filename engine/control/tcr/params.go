package tcr

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	// maxList bounds the lists of a request: ids, filters and their values.
	maxList = 100
	// maxText bounds a text of a request, in bytes.
	maxText = 1024
)

// params are the parameters of a request. Those that are asked for are taken out,
// and the first fault is kept; what is left at the end is unknown.
type params struct {
	left map[string]json.RawMessage
	err  error
}

// parseParams reads a JSON object with each name once, spelt exactly. No body at
// all is one without parameters.
func parseParams(body []byte) (*params, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return &params{left: map[string]json.RawMessage{}}, nil
	}
	if !utf8.Valid(body) {
		return nil, refusal("InvalidParameter", "The body is not UTF-8.")
	}
	left, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	return &params{left: left}, nil
}

func parseObject(raw []byte) (map[string]json.RawMessage, error) {
	notJSON := refusal("InvalidParameter", "The body is not one JSON object.")
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return nil, notJSON
	}
	object := map[string]json.RawMessage{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, notJSON
		}
		if _, twice := object[name]; twice {
			return nil, refusal("InvalidParameter", "The parameter %.64q is given twice.", name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, notJSON
		}
		object[name] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, notJSON
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, notJSON
	}
	return object, nil
}

// take returns a parameter, nil if it is not given.
func (p *params) take(name string) json.RawMessage {
	raw := p.left[name]
	delete(p.left, name)
	return raw
}

func (p *params) fail(err *apiError) {
	if p.err == nil {
		p.err = err
	}
}

func (p *params) wrongType(name, want string) {
	p.fail(refusal("InvalidParameter", "The value type of parameter `%s` is not valid, want %s.", name, want))
}

// present returns a text that has to be given, and may be empty.
func (p *params) present(name string) string {
	if _, ok := p.left[name]; !ok {
		p.fail(missing(name))
		return ""
	}
	return p.optional(name)
}

// text returns a text that has to be given.
func (p *params) text(name string) string {
	before := p.err
	value := p.present(name)
	if value == "" && before == nil && p.err == nil {
		p.fail(refusal(codeInvalid, "%s: non zero value required", name))
	}
	return value
}

// optional returns a text, empty if it is not given.
func (p *params) optional(name string) string {
	raw := p.take(name)
	if raw == nil {
		return ""
	}
	value, ok := text(raw)
	if !ok {
		p.wrongType(name, "a string")
	}
	if len(value) > maxText {
		p.fail(refusal(codeInvalid, "%s: has %d bytes; allowed: at most %d", name, len(value), maxText))
	}
	return value
}

func text(raw json.RawMessage) (string, bool) {
	var value string
	ok := len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &value) == nil
	return value, ok
}

// flag returns a boolean, false if it is not given.
func (p *params) flag(name string) bool {
	switch raw := p.take(name); string(raw) {
	case "true":
		return true
	case "false", "":
	default:
		p.wrongType(name, "a boolean")
	}
	return false
}

// number returns an integer between 0 and limit, and otherwise if it is not given.
func (p *params) number(name string, otherwise, limit int) int {
	raw := p.take(name)
	if raw == nil {
		return otherwise
	}
	value, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err != nil:
		p.wrongType(name, "an integer")
	case value < 0 || value > int64(limit):
		p.fail(refusal("InvalidParameterValue", "The value %d of parameter `%s` is not valid, want 0 to %d.", value, name, limit))
	default:
		return int(value)
	}
	return otherwise
}

// texts returns a list of texts.
func (p *params) texts(name string) []string {
	raw := p.take(name)
	if raw == nil {
		return nil
	}
	list, ok := texts(raw)
	switch {
	case !ok:
		p.wrongType(name, "a list of strings")
	case len(list) > maxList:
		p.fail(refusal("InvalidParameterValue", "The parameter `%s` has %d values, want at most %d.", name, len(list), maxList))
	}
	return list
}

func texts(raw json.RawMessage) ([]string, bool) {
	var values []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &values) != nil {
		return nil, false
	}
	list := make([]string, len(values))
	for i, v := range values {
		value, ok := text(v)
		if !ok || len(value) > maxText {
			return nil, false
		}
		list[i] = value
	}
	return list, true
}

// A filter asks for what has one of the values.
type filter struct {
	name   string
	values []string
}

// filters returns the filters, which may have these names.
func (p *params) filters(allowed ...string) []filter {
	const name = "Filters"
	raw := p.take(name)
	if raw == nil {
		return nil
	}
	var values []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &values) != nil || len(values) > maxList {
		p.wrongType(name, "a list of filters")
		return nil
	}
	var list []filter
	for _, v := range values {
		object, err := parseObject(v)
		if err != nil {
			p.wrongType(name, "a list of filters")
			return nil
		}
		inner := params{left: object}
		f := filter{inner.text("Name"), inner.texts("Values")}
		if inner.err == nil {
			inner.err = inner.unknown()
		}
		switch {
		case inner.err != nil:
			p.err = inner.err
			return nil
		case !slices.Contains(allowed, f.name):
			p.fail(refusal("InvalidParameterValue", "The filter %.64q is not supported, want one of %q.", f.name, allowed))
			return nil
		}
		list = append(list, f)
	}
	return list
}

// end returns the first fault. All parameters have been asked for.
func (p *params) end() error {
	if p.err != nil {
		return p.err
	}
	return p.unknown()
}

func (p *params) unknown() error {
	if len(p.left) == 0 {
		return nil
	}
	return refusal("UnknownParameter", "The parameter %.64q is not recognized.", slices.Min(slices.Collect(maps.Keys(p.left))))
}
