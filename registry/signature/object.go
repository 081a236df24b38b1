package signature

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sealwright/sealwright/engine/strictjson"
)

// An object is a JSON object that keeps the order of its members and the bytes
// of their values, so that what we do not understand survives being rewritten.
type object []member

type member = strictjson.Member

// parseObject reads exactly one JSON object. No two names are the same, not even
// but for case: what we verified must be what others will read.
func parseObject(raw []byte) (object, error) { return strictjson.Members(raw) }

// value returns the bytes of a member, nil when there is none.
func (o object) value(name string) json.RawMessage {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// decode puts the named member into v. An absent member leaves v alone.
func (o object) decode(name string, v any) error {
	raw := o.value(name)
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("member %q is not what it should be", name)
	}
	return nil
}

// text returns the named member, which must be a string.
func (o object) text(name string) (string, error) {
	raw := o.value(name)
	if len(raw) == 0 || raw[0] != '"' {
		return "", fmt.Errorf("member %q is no string", name)
	}
	var s string
	err := o.decode(name, &s)
	return s, err
}

// with returns a copy in which name has the value, in its old place if it had
// one.
func (o object) with(name string, value []byte) object {
	o = slices.Clone(o)
	for i := range o {
		if o[i].Name == name {
			o[i].Value = value
			return o
		}
	}
	return append(o, member{Name: name, Value: value})
}

// without returns a copy that lacks name.
func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.Name == name })
}

// encode writes the object without touching the bytes of the values.
func (o object) encode() []byte { return strictjson.Encode(o) }

// encodeList writes a JSON array of values, without touching their bytes.
func encodeList(values []json.RawMessage) []byte {
	out := []byte{'['}
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, ']')
}

// encode is for strings, numbers and structs of them, whose encoding cannot
// fail.
func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		return []byte("null") // unreachable for the types that are passed
	}
	return raw
}
