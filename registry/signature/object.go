package signature

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxMembers bounds the members of an object that we read. The documents here
// have at most ten; the bound keeps looking for double names cheap.
const maxMembers = 64

// An object is a JSON object that keeps the order of its members and the bytes
// of their values, so that what we do not understand survives being rewritten.
type object []member

type member struct {
	name  string
	value json.RawMessage
}

// parseObject reads exactly one JSON object. Names that are the same, or the
// same but for case, are refused: verifiers differ in which of them they use,
// and what we verified must be what others will read.
func parseObject(raw []byte) (object, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var o object
	for dec.More() {
		m, err := readMember(dec)
		if err != nil {
			return nil, err
		}
		if len(o) == maxMembers {
			return nil, fmt.Errorf("more than %d members", maxMembers)
		}
		if slices.ContainsFunc(o, func(have member) bool { return strings.EqualFold(have.name, m.name) }) {
			return nil, fmt.Errorf("member %.40q twice", m.name)
		}
		o = append(o, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("not a whole JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return o, nil
}

func readMember(dec *json.Decoder) (member, error) {
	t, err := dec.Token()
	if err != nil {
		return member{}, errors.New("not a whole JSON object")
	}
	name, ok := t.(string)
	if !ok {
		return member{}, errors.New("not a JSON object")
	}
	m := member{name: name}
	if err := dec.Decode(&m.value); err != nil {
		return member{}, fmt.Errorf("member %.40q is not JSON", name)
	}
	return m, nil
}

// value returns the bytes of a member, nil when there is none.
func (o object) value(name string) json.RawMessage {
	for _, m := range o {
		if m.name == name {
			return m.value
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
		if o[i].name == name {
			o[i].value = value
			return o
		}
	}
	return append(o, member{name, value})
}

// without returns a copy that lacks name.
func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.name == name })
}

// encode writes the object without touching the bytes of the values.
func (o object) encode() []byte {
	out := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, encode(m.name)...)
		out = append(out, ':')
		out = append(out, m.value...)
	}
	return append(out, '}')
}

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
