package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

const (
	// maxPageNumber is the last page that a cursor may name.
	maxPageNumber = 1 << 24
	// maxStepsBack is how often a listing may shrink between two of its pages
	// before it is given up.
	maxStepsBack = 100
)

// A numberedPage is one answer of a listing whose pages are named by numbers.
type numberedPage[T any] struct {
	items []T
	total int // of all pages; 0 or less where the listing does not say
}

// A numberedListing has pages of a fixed size that are named by numbers, from 0
// on. Its entries move when others come or go.
type numberedListing[T any] struct {
	size  int
	fetch func(ctx context.Context, page int) (numberedPage[T], error)
	key   func(T) string // names an entry among all, without blanks at its start
}

// A placed entry is one of a numbered listing and the cursor that continues after
// it.
type placed[T any] struct {
	item   T
	cursor string
}

// entries yields the entries from the one after the cursor on, holding one page
// and the names of the page before. After an error it ends.
//
// A listing that shrinks while it is walked moves entries from pages that are to
// come to pages that were read. Then the walk goes back by as many pages as may
// have moved: an entry may come twice, but none is missed, provided that new
// entries come first, or that none comes while another goes.
//
// The cursor is a page's number and an entry's name. A listing that is continued
// reads that page again. If the entry is not there any more, its place cannot be
// told, and the listing starts again.
func (n numberedListing[T]) entries(ctx context.Context, after string) iter.Seq2[placed[T], error] {
	return func(yield func(placed[T], error) bool) {
		w := numberedWalk[T]{numberedListing: n}
		w.page, w.anchor = parsePlace(after)
		for !w.done {
			items, err := w.next(ctx)
			if err != nil {
				yield(placed[T]{}, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

func parsePlace(cursor string) (page int, key string) {
	number, key, _ := strings.Cut(cursor, " ")
	page, err := strconv.Atoi(number)
	if err != nil || page < 0 || page > maxPageNumber || key == "" {
		return 0, "" // not one of ours: all from the start
	}
	return page, key
}

// A numberedWalk is where a walk over a numbered listing is.
type numberedWalk[T any] struct {
	numberedListing[T]
	page   int                 // to be read next
	anchor string              // the entry after which to begin; "": at the page's first
	before map[string]struct{} // names of the page that was yielded last
	total  int                 // as the last answer said
	back   int                 // steps back so far
	empty  int                 // pages without entries in a row
	loop   loopDetector
	done   bool
}

// next reads one page and returns what of it is to be yielded.
func (w *numberedWalk[T]) next(ctx context.Context) ([]placed[T], error) {
	p, err := w.fetch(ctx, w.page)
	if err != nil {
		return nil, err
	}
	if len(p.items) > w.size {
		return nil, fmt.Errorf("page of %d entries, asked for %d: %w", len(p.items), w.size, ErrCorrupt)
	}
	if gone := w.total - p.total; gone > 0 && w.before != nil && p.total > 0 {
		w.total = p.total
		return nil, w.stepBack(gone)
	}
	w.total = p.total
	items := p.items
	if w.anchor != "" {
		at := w.find(items, w.anchor)
		if w.anchor = ""; at < 0 && w.page > 0 {
			w.page = 0
			return nil, nil
		}
		items = items[at+1:]
	}
	if err := w.check(p.items); err != nil {
		return nil, err
	}
	fresh := w.fresh(items)
	w.advance(p)
	return fresh, nil
}

func (w *numberedWalk[T]) stepBack(gone int) error {
	if w.back++; w.back > maxStepsBack {
		return fmt.Errorf("listing shrinks faster than it can be read: %w", ErrCorrupt)
	}
	w.page = max(0, w.page-(gone+w.size-1)/w.size)
	w.loop = loopDetector{}
	return nil
}

// check notices pages that repeat themselves or stay empty.
func (w *numberedWalk[T]) check(items []T) error {
	if len(items) == 0 {
		if w.empty++; w.empty > maxEmptyPages {
			return fmt.Errorf("%d empty pages in a row: %w", w.empty, ErrCorrupt)
		}
		return nil
	}
	w.empty = 0
	names := sha256.New()
	for _, item := range items {
		fmt.Fprintf(names, "%q\n", w.key(item))
	}
	if w.loop.again(hex.EncodeToString(names.Sum(nil))) {
		return fmt.Errorf("pages go round in a circle: %w", ErrCorrupt)
	}
	return nil
}

func (w *numberedWalk[T]) find(items []T, key string) int {
	for i, item := range items {
		if w.key(item) == key {
			return i
		}
	}
	return -1
}

// fresh returns the entries that the page before did not have.
func (w *numberedWalk[T]) fresh(items []T) []placed[T] {
	list := make([]placed[T], 0, len(items))
	for _, item := range items {
		key := w.key(item)
		if _, known := w.before[key]; !known {
			list = append(list, placed[T]{item: item, cursor: strconv.Itoa(w.page) + " " + key})
		}
	}
	return list
}

// advance goes on to the page after p, if there is one. A page that is full
// counts for more than a total that says there is less.
func (w *numberedWalk[T]) advance(p numberedPage[T]) {
	w.before = make(map[string]struct{}, len(p.items))
	for _, item := range p.items {
		w.before[w.key(item)] = struct{}{}
	}
	w.page++
	end := w.page * w.size
	more := end < p.total || len(p.items) == w.size && end > p.total
	w.done = !more || w.page > maxPageNumber
}
