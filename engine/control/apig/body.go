package apig

import (
	"fmt"

	"github.com/sealwright/sealwright/engine/strictjson"
)

// A document is a JSON object, whose members are read by name as they are asked for.
// As the vendor does, members that nobody asks for are ignored.
type document map[string]any

// parse reads one JSON object.
func parse(body []byte) (document, error) {
	v, err := strictjson.Parse(body)
	if err != nil {
		return nil, malformedBody("the body is refused: " + err.Error())
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, malformedBody("the body is not a JSON object")
	}
	return doc, nil
}

// text returns a member that is text. None, null and "" are the same.
func (d document) text(name string) (string, error) {
	text, ok := d[name].(string)
	if !ok && d[name] != nil {
		return "", invalid(name, "allowed: text")
	}
	return text, nil
}

// texts returns a member that is a list of texts, none of which is empty.
func (d document) texts(name string, most int) ([]string, error) {
	items, ok := d[name].([]any)
	switch {
	case !ok && d[name] != nil:
		return nil, invalid(name, "allowed: a list of texts")
	case len(items) == 0:
		return nil, missing(name)
	case len(items) > most:
		return nil, invalid(name, fmt.Sprintf("allowed: 1 to %d texts", most))
	}
	list := make([]string, len(items))
	for i, item := range items {
		if list[i], ok = item.(string); !ok || list[i] == "" {
			return nil, invalid(name, "allowed: texts that are not empty")
		}
	}
	return list, nil
}
