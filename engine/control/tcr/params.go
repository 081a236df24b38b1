package tcr

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/sealwright/sealwright/engine/strictjson"
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
	left map[string]any
	err  error
}

// parseParams reads a JSON object. No body at all is one without parameters.
func parseParams(body []byte) (*params, error) {
	v, err := strictjson.Parse(body)
	twice, ok := errors.AsType[*strictjson.NameError](err)
	switch {
	case errors.Is(err, strictjson.ErrEmpty):
		v = map[string]any{}
	case ok:
		return nil, refusal("InvalidParameter", "The parameter %.64q is given twice.", twice.Name)
	case err != nil:
		return nil, refusal("InvalidParameter", "The body is not one JSON object: %s.", err)
	}
	left, ok := v.(map[string]any)
	if !ok {
		return nil, refusal("InvalidParameter", "The body is not one JSON object.")
	}
	return &params{left: left}, nil
}

// take returns a parameter, and whether it is given; null is no value of any type.
func take[T any](p *params, name, want string) (value T, given bool) {
	v, given := p.left[name]
	delete(p.left, name)
	value, ok := v.(T)
	if given && !ok {
		p.wrongType(name, want)
	}
	return value, ok
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
	value, _ := take[string](p, name, "a string")
	if len(value) > maxText {
		p.fail(refusal(codeInvalid, "%s: has %d bytes; allowed: at most %d", name, len(value), maxText))
	}
	return value
}

// flag returns a boolean, false if it is not given.
func (p *params) flag(name string) bool {
	value, _ := take[bool](p, name, "a boolean")
	return value
}

// number returns an integer between 0 and limit, and otherwise if it is not given.
func (p *params) number(name string, otherwise, limit int) int {
	number, given := take[json.Number](p, name, "an integer")
	if !given {
		return otherwise
	}
	value, err := number.Int64()
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
	items, _ := take[[]any](p, name, "a list of strings")
	if len(items) > maxList {
		p.fail(refusal("InvalidParameterValue", "The parameter `%s` has %d values, want at most %d.", name, len(items), maxList))
	}
	list := make([]string, len(items))
	for i, item := range items {
		var ok bool
		if list[i], ok = item.(string); !ok || len(list[i]) > maxText {
			p.wrongType(name, "a list of strings")
		}
	}
	return list
}

// A filter asks for what has one of the values.
type filter struct {
	name   string
	values []string
}

// filters returns the filters, which may have these names.
func (p *params) filters(allowed ...string) []filter {
	const name, want = "Filters", "a list of filters"
	values, _ := take[[]any](p, name, want)
	if len(values) > maxList {
		p.wrongType(name, want)
		return nil
	}
	var list []filter
	for _, v := range values {
		object, ok := v.(map[string]any)
		if !ok {
			p.wrongType(name, want)
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
