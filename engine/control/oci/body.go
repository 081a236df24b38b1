package oci

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealwright/sealwright/engine/strictjson"
)

// An object is a JSON object that was sent. Members that are null are not there.
// Members that nobody asks for are passed over: newer clients know more of them.
type object map[string]any

// parseObject reads a body that is one JSON object.
func parseObject(body []byte) (object, error) {
	v, err := strictjson.Parse(body)
	if err != nil {
		return nil, unreadable("The body is refused: " + err.Error() + ".")
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, unreadable("The body is not a JSON object.")
	}
	return o, nil
}

// text returns a string that is required, of at most most characters; any number of
// them if most is 0.
func (o object) text(field string, most int) (string, error) {
	v := o[field]
	if v == nil {
		return "", missing(field)
	}
	s, ok := v.(string)
	if !ok {
		return "", invalid(field, "it is not a string")
	}
	return s, checkText(field, s, most)
}

// checkText refuses what is no name, in a body or a query.
func checkText(field, s string, most int) error {
	switch {
	case s == "" && most == 0:
		return invalid(field, "it is empty")
	case s == "":
		return invalid(field, "it is empty; allowed: 1 to %d characters", most)
	case most > 0 && utf8.RuneCountInString(s) > most:
		return invalid(field, "it has %d characters; allowed: 1 to %d", utf8.RuneCountInString(s), most)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return invalid(field, "it has control characters")
	}
	return nil
}

// Bounds of tags, as Oracle documents them.
const (
	maxFreeformTags = 10
	maxDefinedTags  = 64
	maxTagName      = 100
	maxTagValue     = 256
	maxTags         = 5 << 10 // of all tags together, as JSON
)

// tags returns the tags of one kind as JSON, or otherwise if there are none.
func (o object) tags(field, otherwise string, check func(object) error) (string, error) {
	v := o[field]
	if v == nil {
		return otherwise, nil
	}
	tags, ok := v.(map[string]any)
	if !ok {
		return "", invalid(field, "it is not an object")
	}
	if err := check(tags); err != nil {
		return "", err
	}
	text, err := json.Marshal(tags)
	return string(text), err
}

func checkFreeformTags(tags object) error {
	const field = "freeformTags"
	if len(tags) > maxFreeformTags {
		return invalid(field, "%d tags; allowed: at most %d", len(tags), maxFreeformTags)
	}
	for name, v := range tags {
		if err := checkTagName(field, name); err != nil {
			return err
		}
		value, ok := v.(string)
		if !ok || utf8.RuneCountInString(value) > maxTagValue || strings.ContainsRune(value, 0) {
			return invalid(field, "the value of a tag is not a string of at most %d characters", maxTagValue)
		}
	}
	return nil
}

func checkDefinedTags(tags object) error {
	const field = "definedTags"
	n := 0
	for namespace, v := range tags {
		if err := checkTagName(field, namespace); err != nil {
			return err
		}
		inner, ok := v.(map[string]any)
		if !ok {
			return invalid(field, "a namespace is not an object")
		}
		if n += len(inner); n > maxDefinedTags {
			return invalid(field, "more than %d tags", maxDefinedTags)
		}
		for name, value := range inner {
			if err := checkTagName(field, name); err != nil {
				return err
			}
			if !definedValue(value) {
				return invalid(field, "the value of a tag is not a string of at most %d characters, a number or a boolean", maxTagValue)
			}
		}
	}
	return nil
}

func definedValue(v any) bool {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v) <= maxTagValue && !strings.ContainsRune(v, 0)
	case json.Number:
		return len(v) <= maxTagValue
	case bool:
		return true
	}
	return false
}

func checkTagName(field, name string) error {
	if name == "" || len(name) > maxTagName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '.' }) {
		return invalid(field, "a name is not 1 to %d visible ASCII characters without '.'", maxTagName)
	}
	return nil
}
