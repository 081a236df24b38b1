package oci

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A query is what follows the path, each name once. Names that nobody asks for are
// passed over.
type query map[string]string

func parseQuery(raw string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, unreadable("The query is not one.")
	}
	q := query{}
	for name, all := range values {
		if len(all) > 1 {
			return nil, invalid("query", "a name is there %d times; allowed: once", len(all))
		}
		q[name] = all[0]
	}
	return q, nil
}

// text returns a parameter, empty if it is not there.
func (q query) text(name string, most int) (string, error) {
	v, ok := q[name]
	if !ok {
		return "", nil
	}
	return v, checkText(name, v, most)
}

// texts reads several parameters of at most 255 characters.
func (q query) texts(into map[string]*string) error {
	for name, value := range into {
		var err error
		if *value, err = q.text(name, 255); err != nil {
			return err
		}
	}
	return nil
}

// flag returns a boolean; there is whether it was sent.
func (q query) flag(name string) (value, there bool, err error) {
	switch v, ok := q[name]; {
	case !ok:
		return false, false, nil
	case v == "true", v == "false":
		return v == "true", true, nil
	}
	return false, false, invalid(name, "it is not a boolean; allowed: true, false")
}

// word returns one of the words, whatever its case; empty if it is not there.
func (q query) word(name string, words ...string) (string, error) {
	v, ok := q[name]
	if !ok {
		return "", nil
	}
	i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, v) })
	if i < 0 {
		return "", invalid(name, "it is not allowed; allowed: %s", strings.Join(words, ", "))
	}
	return words[i], nil
}

// Sizes of pages. Oracle documents no default.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (q query) limit() (int, error) {
	v, ok := q["limit"]
	if !ok {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxLimit {
		return 0, invalid("limit", "it is not allowed; allowed: 1 to %d", maxLimit)
	}
	return n, nil
}

// maxPage is how long a page token may be.
const maxPage = 2048

// page reads a page token into v; there is whether one was sent.
func (q query) page(v any) (there bool, err error) {
	token, ok := q["page"]
	if !ok {
		return false, nil
	}
	wrong := invalid("page", "it is not from an opc-next-page of this list")
	if len(token) > maxPage {
		return false, wrong
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return false, wrong
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil || d.More() {
		return false, wrong
	}
	if strings.Contains(string(text), `\u0000`) {
		return false, wrong // no text of the journal has it, and a database may not take it
	}
	return true, nil
}

// pageToken is what page reads.
func pageToken(v any) (string, error) {
	text, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// splitPrefix returns a name, or what names begin with if it ends with a star.
func splitPrefix(name string) (text string, prefix bool) { return strings.CutSuffix(name, "*") }
