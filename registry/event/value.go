package event

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/sealwright/sealwright/engine/strictjson"
)

// A reading is a document being read. The first thing wrong with it is kept,
// so that a parser asks for all it needs and looks at the error once.
type reading struct{ err error }

func (r *reading) fail(at, format string, args ...any) {
	if r.err == nil {
		r.err = malformed(at, format, args...)
	}
}

// A value is one value of a document, and where it stands. Names are matched
// exactly; what is null is absent.
type value struct {
	*reading
	at string
	v  any // nil, string, json.Number, bool, []any, map[string]any
}

// read decodes one JSON object and nothing after it.
func read(at string, body []byte) (value, error) {
	if len(body) > MaxBody {
		return value{}, malformed(at, "more than %d bytes", MaxBody)
	}
	v, err := strictjson.Parse(body)
	twice, ok := errors.AsType[*strictjson.NameError](err)
	switch {
	case ok:
		return value{}, malformed(at, "%s stands twice in one object", quote(twice.Name))
	case errors.Is(err, strictjson.ErrDepth), errors.Is(err, strictjson.ErrValues):
		return value{}, malformed(at, "%s", err)
	case err != nil:
		return value{}, malformed(at, "not one JSON value in UTF-8")
	}
	if _, ok := v.(map[string]any); !ok {
		return value{}, malformed(at, "want an object, have %s", kindOf(v))
	}
	return value{reading: &reading{}, at: at, v: v}, nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

// present reports whether there is a value.
func (v value) present() bool { return v.v != nil }

func (v value) wrong(want string) { v.fail(v.at, "want %s, have %s", want, kindOf(v.v)) }

// get returns a member of an object; of what is absent, everything is absent.
func (v value) get(name string) value {
	at := name
	if v.at != "" {
		at = v.at + "." + name
	}
	if !v.present() {
		return value{v.reading, at, nil}
	}
	object, ok := v.v.(map[string]any)
	if !ok {
		v.wrong("an object")
	}
	return value{v.reading, at, object[name]}
}

// list returns the items of a list, which may be absent.
func (v value) list() []value {
	if !v.present() {
		return nil
	}
	list, ok := v.v.([]any)
	if !ok {
		v.wrong("a list")
	}
	items := make([]value, len(list))
	for i, item := range list {
		items[i] = value{v.reading, v.at + "[" + strconv.Itoa(i) + "]", item}
	}
	return items
}

// text returns a string, "" if it is absent.
func (v value) text() string {
	if !v.present() {
		return ""
	}
	s, ok := v.v.(string)
	if !ok {
		v.wrong("a string")
	}
	return s
}

// must returns a string that is there.
func (v value) must() string {
	s := v.text()
	if s == "" {
		v.fail(v.at, "is missing")
	}
	return s
}

// unix returns a time in seconds since 1970, the zero time if it is absent or
// zero. Fractions are dropped.
func (v value) unix() time.Time {
	if !v.present() {
		return time.Time{}
	}
	number, ok := v.v.(json.Number)
	if !ok {
		v.wrong("a number")
		return time.Time{}
	}
	seconds, err := number.Float64()
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > maxUnix {
		v.fail(v.at, "want seconds since 1970")
		return time.Time{}
	}
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

const maxUnix = 253402300799 // the end of the year 9999

// when returns a time written as one of layouts, RFC 3339 if there are none;
// the zero time if it is absent.
func (v value) when(layouts ...string) time.Time {
	text := v.text()
	if text == "" {
		return time.Time{}
	}
	for _, layout := range append(layouts, time.RFC3339) {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	v.fail(v.at, "%s is no time", quote(text))
	return time.Time{}
}
