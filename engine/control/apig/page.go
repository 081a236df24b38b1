package apig

import (
	"net/url"
	"strconv"
)

// A filter is the query of a list. A parameter that is wrong is remembered, so that
// all can be read before that is looked at.
type filter struct {
	query url.Values
	wrong error
}

// text returns a parameter, "" if there is none. Twice is wrong: who else reads the
// query may take the other one.
func (f *filter) text(name string) string {
	values := f.query[name]
	switch {
	case len(values) == 0:
		return ""
	case len(values) > 1 && f.wrong == nil:
		f.wrong = invalidQuery(name, "allowed: once")
	}
	return values[0]
}

// required is text, which must be there.
func (f *filter) required(name string) string {
	value := f.text(name)
	if value == "" && f.wrong == nil {
		f.wrong = missing(name)
	}
	return value
}

func (f *filter) number(name string) int64 {
	text := f.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && f.wrong == nil {
		f.wrong = invalidQuery(name, "allowed: a number of 64 bits")
	}
	return n
}

// A page says which part of a list is asked for.
type page struct{ offset, limit int64 }

// page reads offset and limit, which the vendor moves into their bounds.
func (f *filter) page() page {
	p := page{max(f.number("offset"), 0), f.number("limit")}
	if p.limit <= 0 {
		p.limit = 20
	}
	p.limit = min(p.limit, 500)
	return p
}

// A listing is how long an answer and the whole list are.
type listing struct {
	Size  int `json:"size"`
	Total int `json:"total"`
}

// cut returns the items of a page, never nil.
func cut[T any](p page, all []T) ([]T, listing) {
	from := min(p.offset, int64(len(all)))
	to := min(from+p.limit, int64(len(all)))
	items := append([]T{}, all[from:to]...)
	return items, listing{Size: len(items), Total: len(all)}
}
