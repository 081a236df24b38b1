package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// leastQuayPage is a page size from which on pages that overlap can always be
// found: no number of tags is a multiple of all sizes up to it.
const leastQuayPage = 50

// A quayWalk goes through the tags of a repository of Quay, which lists those
// first that were set last, in pages that are named by numbers. A tag that is
// deleted moves those behind it into pages that were read. So each page is asked
// for such that it begins with tags that were seen already. One that does not,
// does not connect, and the walk goes back until one does. A tag that is set
// moves others back; they are then met again and left out.
type quayWalk struct {
	size   int
	seen   int              // tags up to the edge, as far as is known
	edge   quayTag          // the last that was yielded; no name: none was
	before map[string]int64 // tags of the page that was yielded last, and when they were set
	idle   int              // pages in a row that brought nothing
	done   bool
}

// newQuayWalk begins behind a cursor: the place of a tag, when it was set, and its
// name. If that is not one of ours, it begins at the first tag.
func newQuayWalk(after string, size int) *quayWalk {
	w := &quayWalk{size: size}
	parts := strings.SplitN(after, " ", 3)
	if len(parts) != 3 {
		return w
	}
	place, placeErr := strconv.Atoi(parts[0])
	start, startErr := strconv.ParseInt(parts[1], 10, 64)
	if placeErr == nil && startErr == nil && place > 0 && place <= maxPageNumber && checkTag(parts[2]) == nil {
		w.seen, w.edge = place, quayTag{Name: parts[2], Start: start}
	}
	return w
}

func quayCursor(place int, t quayTag) string { return fmt.Sprintf("%d %d %s", place, t.Start, t.Name) }

// window returns the page to ask for: of all sizes the one that overlaps with what
// was seen and shows the most beyond.
func (w *quayWalk) window() (number, limit int) {
	if w.seen == 0 {
		return 1, w.size
	}
	last, most := w.seen-1, -1
	for size := w.size; size > 0; size-- {
		if beyond := size - 1 - last%size; beyond > most {
			most, limit = beyond, size
		}
	}
	return last/limit + 1, limit
}

// turn takes the page that window asked for, and returns what of it is new.
func (w *quayWalk) turn(p quayTags, number, limit int) ([]placed[quayTag], error) {
	newest := func(a, b quayTag) int { return cmp.Compare(b.Start, a.Start) }
	if len(p.Tags) > limit || !slices.IsSortedFunc(p.Tags, newest) {
		return nil, fmt.Errorf("page %d has %d tags, want at most %d, the newest first: %w", number, len(p.Tags), limit, ErrCorrupt)
	}
	if w.idle++; w.idle > maxEmptyPages {
		return nil, fmt.Errorf("%d pages in a row bring nothing new: %w", w.idle, ErrCorrupt)
	}
	place := (number - 1) * limit
	if !w.connects(place, p.Tags) {
		w.seen = max(0, place-w.size<<min(w.idle, 16))
		return nil, nil
	}
	from := slices.IndexFunc(p.Tags, w.isEdge) + 1
	var fresh []placed[quayTag]
	for i, t := range p.Tags[from:] {
		if from > 0 || w.isNew(t) {
			fresh = append(fresh, placed[quayTag]{item: t, cursor: quayCursor(place+from+i+1, t)})
		}
	}
	w.advance(p, place, fresh)
	return fresh, nil
}

func (w *quayWalk) advance(p quayTags, place int, fresh []placed[quayTag]) {
	w.seen, w.done = place+len(p.Tags), !p.More
	if len(fresh) == 0 {
		return
	}
	w.idle, w.edge = 0, fresh[len(fresh)-1].item
	w.before = make(map[string]int64, len(p.Tags))
	for _, t := range p.Tags {
		w.before[t.Name] = t.Start
	}
}

// connects reports whether nothing that was not seen comes before a page: it is
// the first, or the edge is in it, or it begins before the edge.
func (w *quayWalk) connects(place int, tags []quayTag) bool {
	if place == 0 || slices.ContainsFunc(tags, w.isEdge) {
		return true
	}
	return len(tags) > 0 && (tags[0].Start > w.edge.Start || w.wasSeen(tags[0]))
}

func (w *quayWalk) isEdge(t quayTag) bool {
	return w.edge.Name != "" && t.Name == w.edge.Name && t.Start == w.edge.Start
}

func (w *quayWalk) wasSeen(t quayTag) bool {
	start, found := w.before[t.Name]
	return found && start == t.Start
}

// isNew reports whether a tag may be one that was not seen, in a page without the
// edge. Of those that were set in the same second the order is not known.
func (w *quayWalk) isNew(t quayTag) bool {
	return w.edge.Name == "" || t.Start <= w.edge.Start && !w.wasSeen(t)
}
