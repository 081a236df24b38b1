package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

const (
	maxPageItems  = 1 << 18 // names in one page: some registries send all at once
	maxEmptyPages = 1000    // in a row, with a next page each
)

// A page is one answer of a listing.
type page struct {
	items []string
	next  *url.URL // nil: this was the last
}

// A listing is a list of names that comes in pages.
type listing struct {
	scope string
	field string // of the page's JSON, with the names
	path  string
	size  int    // names asked for at once; 0: the registry's choice
	after string // the name before the first
}

func (l listing) query() url.Values {
	query := url.Values{}
	if l.size > 0 {
		query.Set("n", strconv.Itoa(l.size))
	}
	if l.after != "" {
		query.Set("last", l.after)
	}
	return query
}

// fetchPage gets one page; a field of its own so that tests can watch pages.
type fetchPage func(ctx context.Context, l listing, from *url.URL) (*page, error)

// names yields the names of a listing. It holds one page, which it has read
// to the end before it yields: what the caller does with a name may need the
// place in the budget. After an error it ends.
func (c *Client) names(ctx context.Context, l listing, fetch fetchPage) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		from := c.url(l.path, l.query())
		var loop loopDetector
		var before *page // set when from asks for what its registry may have cut off
		empty, links := 0, false
		for from != nil {
			if loop.seen(from) || empty > maxEmptyPages {
				yield("", fmt.Errorf("pages go round in a circle: %w", ErrCorrupt))
				return
			}
			p, err := fetch(ctx, l, from)
			if refusedPageSize(err) && l.size > 0 {
				l.size = 0
				from = c.url(l.path, l.query())
				continue
			}
			if err != nil {
				yield("", err)
				return
			}
			if before.startsAgain(p) {
				return
			}
			empty++
			for _, item := range p.items {
				if empty = 0; !yield(item, nil) {
					return
				}
			}
			from, before, links = p.next, nil, links || p.next != nil
			if from == nil && !links && l.size > 0 && len(p.items) == l.size {
				// Exactly as long as asked for, and never a next page: some
				// registries cut listings without saying so. To ask for what
				// comes after the last name costs one request, and shows.
				before, l.after = p, p.items[l.size-1]
				from = c.url(l.path, l.query())
			}
		}
	}
}

// startsAgain reports whether a registry that was asked for what comes after p
// went back instead. Names are in order, or else only the same page tells.
func (p *page) startsAgain(next *page) bool {
	if p == nil || len(next.items) == 0 {
		return false
	}
	first, last := next.items[0], p.items[len(p.items)-1]
	return first == p.items[0] || slices.IsSorted(p.items) && first <= last
}

// refusedPageSize reports a registry that gives no reason but the size of the
// page asked for.
func refusedPageSize(err error) bool {
	return refusedWith(err, "PAGINATION_NUMBER_INVALID")
}

// page reads one page. Memory is bounded by maxPageBody and maxPageItems.
func (c *Client) page(ctx context.Context, l listing, from *url.URL) (*page, error) {
	raw, resp, err := c.read(ctx, call{method: http.MethodGet, url: from, scope: l.scope, limit: maxPageBody})
	if err != nil {
		return nil, err
	}
	items, err := decodePage(bytes.NewReader(raw), l.field)
	if err != nil {
		return nil, err
	}
	p := &page{items: items}
	if target, found := nextLink(resp.Header.Values("Link")); found {
		if p.next, err = c.homeURL(from, target); err != nil {
			return nil, fmt.Errorf("next page: %w", err)
		}
	}
	return p, nil
}

// decodePage reads the strings of one field of a JSON object. The other
// fields, which may be large, are skipped; null is an empty list.
func decodePage(r io.Reader, field string) ([]string, error) {
	items, err := decodeField(json.NewDecoder(r), field)
	if err == nil || errors.Is(err, ErrTooLarge) {
		return items, err
	}
	return nil, fmt.Errorf("page of %s: %w: %s", field, ErrCorrupt, plain(err.Error()))
}

func decodeField(dec *json.Decoder, field string) ([]string, error) {
	if err := delim(dec, '{'); err != nil {
		return nil, err
	}
	var items []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if key != field {
			if err := skipValue(dec); err != nil {
				return nil, err
			}
			continue
		}
		if items, err = decodeStrings(dec); err != nil {
			return nil, err
		}
	}
	return items, delim(dec, '}')
}

func decodeStrings(dec *json.Decoder) ([]string, error) {
	token, err := dec.Token()
	if err != nil || token == nil {
		return nil, err
	}
	if token != json.Delim('[') {
		return nil, errors.New("want a list of names")
	}
	var items []string
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		item, ok := token.(string)
		if !ok || item == "" {
			return nil, errors.New("want a list of names")
		}
		if len(items) == maxPageItems {
			return nil, fmt.Errorf("page of more than %d names: %w", maxPageItems, ErrTooLarge)
		}
		items = append(items, item)
	}
	return items, delim(dec, ']')
}

func delim(dec *json.Decoder, want json.Delim) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("want %s", want)
	}
	return nil
}

// skipValue reads one JSON value without keeping it.
func skipValue(dec *json.Decoder) error {
	for depth := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// A loopDetector finds out that a sequence of URLs repeats itself, in constant
// memory (Brent): it keeps one URL, and keeps a later one at longer and longer
// intervals.
type loopDetector struct {
	kept         string
	steps, limit int
}

func (d *loopDetector) seen(u *url.URL) bool { return d.again(u.String()) }

func (d *loopDetector) again(current string) bool {
	if d.limit > 0 && current == d.kept { // before the first, nothing is kept
		return true
	}
	if d.steps++; d.steps > d.limit {
		d.kept, d.steps, d.limit = current, 0, 2*d.limit+1
	}
	return false
}
