package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
)

// shelf is a numbered listing of names that a test changes while it is walked.
type shelf struct {
	list  []string
	asked []int
	total func(n int) int // what it says there is
}

func (s *shelf) listing(size int) numberedListing[string] {
	return numberedListing[string]{size: size, key: func(n string) string { return n }, fetch: func(_ context.Context, page int) (numberedPage[string], error) {
		s.asked = append(s.asked, page)
		from := min(page*size, len(s.list))
		total := len(s.list)
		if s.total != nil {
			total = s.total(total)
		}
		return numberedPage[string]{slices.Clone(s.list[from:min(from+size, len(s.list))]), total}, nil
	}}
}

func shelfOf(n int) *shelf {
	s := &shelf{}
	for i := range n {
		s.list = append(s.list, "n"+strconv.Itoa(i))
	}
	return s
}

// walkPages collects names; each is called with what was yielded so far.
func walkPages(t *testing.T, l numberedListing[string], after string, each func([]string)) (names, cursors []string, end error) {
	t.Helper()
	for e, err := range l.entries(t.Context(), after) {
		if err != nil {
			return names, cursors, err
		}
		names, cursors = append(names, e.item), append(cursors, e.cursor)
		each(names)
		if len(names) > 10_000 {
			t.Fatal("it does not end")
		}
	}
	return names, cursors, nil
}

func nothing([]string) {}

// TestNumberedPages: every size, and what the listing says of its length.
func TestNumberedPages(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 4, 5, 6, 10, 23} {
		for what, total := range map[string]func(int) int{
			"right": nil, "none": func(int) int { return 0 }, "negative": func(int) int { return -1 }, "too small": func(int) int { return 3 },
		} {
			s := shelfOf(n)
			s.total = total
			names, cursors, err := walkPages(t, s.listing(5), "", nothing)
			if err != nil || !slices.Equal(names, s.list) {
				t.Errorf("%d, total %s: %v, %v", n, what, names, err)
			}
			if what == "right" && len(s.asked) != max(1, (n+4)/5) {
				t.Errorf("%d: pages %v", n, s.asked)
			}
			for i, cursor := range cursors {
				again := shelfOf(n)
				rest, _, err := walkPages(t, again.listing(5), cursor, nothing)
				if err != nil || !slices.Equal(rest, s.list[i+1:]) {
					t.Errorf("after %q: %v, %v", cursor, rest, err)
				}
			}
		}
	}
}

// TestNumberedPagesMoving: what goes, and what comes in front, makes nothing be
// missed.
func TestNumberedPagesMoving(t *testing.T) {
	t.Parallel()
	for _, gone := range []int{1, 2, 5, 7} {
		for _, come := range []int{0, 1, 9} {
			for _, at := range []int{5, 10, 15} {
				s := shelfOf(23)
				all := slices.Clone(s.list)
				names, _, err := walkPages(t, s.listing(5), "", func(names []string) {
					if len(names) != at {
						return
					}
					s.list = s.list[min(gone, at):]
					for i := range come {
						s.list = slices.Insert(s.list, 0, "new"+strconv.Itoa(i))
					}
				})
				for _, name := range all {
					if !slices.Contains(names, name) {
						t.Errorf("%d gone and %d come after %d: %s is missing (%v)", gone, come, at, name, err)
					}
				}
			}
		}
	}
}

// TestNumberedPagesContinued: after its entry has gone, a listing starts again;
// after others have gone, too, unless it finds its entry.
func TestNumberedPagesContinued(t *testing.T) {
	t.Parallel()
	for _, gone := range []int{1, 4, 12} {
		s := shelfOf(23)
		all := slices.Clone(s.list)
		_, cursors, err := walkPages(t, s.listing(5), "", nothing)
		if err != nil {
			t.Fatal(err)
		}
		s.list = s.list[gone:]
		rest, _, err := walkPages(t, s.listing(5), cursors[11], nothing)
		for _, name := range all[12:] {
			if err != nil || !slices.Contains(rest, name) {
				t.Errorf("%d gone: %s is missing: %v", gone, name, err)
			}
		}
	}
	for _, cursor := range []string{"x", "-1 n3", "99999999999999999999 n3", "3", "1 ", "\x00"} {
		if rest, _, err := walkPages(t, shelfOf(7).listing(5), cursor, nothing); err != nil || len(rest) != 7 {
			t.Errorf("cursor %q: %v, %v", cursor, rest, err)
		}
	}
	if rest, _, err := walkPages(t, shelfOf(7).listing(5), "900 n3", nothing); err != nil || len(rest) != 7 {
		t.Errorf("a page that is not there: %v, %v", rest, err)
	}
}

// TestNumberedPagesHostile: what never ends is an error.
func TestNumberedPagesHostile(t *testing.T) {
	t.Parallel()
	calls := 0
	endless := func(items func(page int) []string, total func() int) numberedListing[string] {
		return numberedListing[string]{size: 2, key: func(n string) string { return n }, fetch: func(_ context.Context, page int) (numberedPage[string], error) {
			return numberedPage[string]{items(page), total()}, nil
		}}
	}
	many := func() int { return 1 << 40 }
	for name, l := range map[string]numberedListing[string]{
		"same page":  endless(func(int) []string { return []string{"a", "b"} }, many),
		"circle":     endless(func(page int) []string { return []string{fmt.Sprint(page % 7), "x"} }, many),
		"empty":      endless(func(int) []string { return nil }, many),
		"large page": endless(func(int) []string { return []string{"a", "b", "c"} }, many),
		"shrinking": endless(func(page int) []string { return []string{fmt.Sprint(page), "x"} }, func() int {
			calls++
			return 1<<40 - calls
		}),
	} {
		if _, _, err := walkPages(t, l, "", nothing); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
