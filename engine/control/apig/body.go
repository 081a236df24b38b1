package apig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// A document is a JSON object, whose members are read by name as they are asked for.
// As the vendor does, members that nobody asks for are ignored.
type document map[string]json.RawMessage

// parse reads one JSON object in UTF-8, whose names differ, and nothing behind it.
func parse(body []byte) (document, error) {
	if !utf8.Valid(body) {
		return nil, malformedBody("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, malformedBody("the body is not a JSON object")
	}
	doc := document{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformedBody("the body is not JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, malformedBody("the body is not JSON")
		}
		text, _ := name.(string) // nothing else is a name
		if _, twice := doc[text]; twice {
			return nil, malformedBody("a name is in the body twice")
		}
		doc[text] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, malformedBody("the body is not JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformedBody("there is more in the body than a JSON object")
	}
	return doc, nil
}

// text returns a member that is text. None, null and "" are the same.
func (d document) text(name string) (string, error) {
	var text string
	if raw, there := d[name]; there && json.Unmarshal(raw, &text) != nil {
		return "", invalid(name, "allowed: text")
	}
	return text, nil
}

// texts returns a member that is a list of texts, none of which is empty.
func (d document) texts(name string, most int) ([]string, error) {
	var list []string
	if raw, there := d[name]; there && json.Unmarshal(raw, &list) != nil {
		return nil, invalid(name, "allowed: a list of texts")
	}
	if len(list) == 0 {
		return nil, missing(name)
	}
	if len(list) > most {
		return nil, invalid(name, fmt.Sprintf("allowed: 1 to %d texts", most))
	}
	for _, text := range list {
		if text == "" {
			return nil, invalid(name, "allowed: texts that are not empty")
		}
	}
	return list, nil
}
