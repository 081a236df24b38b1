package registry

import (
	"context"
	"iter"
)

// tagsAfter yields the tags that a listing has after one of them.
//
// Some registries take no notice of where a listing should begin. They give
// themselves away by beginning where a listing from the start does, which
// costs one request to see; neither the order of the names nor the first page
// alone would tell, as not all registries sort. From such a registry names are
// skipped, without any further work, up to the one asked for. If that is never
// met, its tag was deleted meanwhile, and the listing is read once more: what
// comes after it is then what sorts after it if the whole listing was sorted,
// else everything.
func (c *Client) tagsAfter(ctx context.Context, repository, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s := skipping{after: after, sorted: true}
		for tag, err := range c.tags(ctx, repository, after, c.page) {
			failed := err != nil && tag == ""
			if !failed && !s.decided {
				restarted, probeErr := c.startsWith(ctx, repository, tag)
				if probeErr != nil {
					yield("", probeErr)
					return
				}
				s.decided, s.on = true, restarted || tag == after
			}
			if !failed && s.skips(tag) {
				continue
			}
			if !yield(tag, err) || failed {
				return
			}
		}
		if !s.on {
			return
		}
		for tag, err := range c.tags(ctx, repository, "", c.page) {
			if tag != "" && s.sorted && tag <= after {
				continue
			}
			if !yield(tag, err) {
				return
			}
		}
	}
}

// startsWith reports whether the listing of a repository's tags starts with
// that name, be it a valid tag or not.
func (c *Client) startsWith(ctx context.Context, repository, first string) (bool, error) {
	for tag, err := range c.tags(ctx, repository, "", c.page) {
		if err != nil && tag == "" {
			return false, err
		}
		return tag == first, nil
	}
	return false, nil // all were deleted meanwhile
}

// skipping goes through a listing that may have begun before a name.
type skipping struct {
	after   string
	decided bool // whether to skip
	on      bool // the name has not been met
	sorted  bool // so far
	last    string
}

// skips reports whether tag is not after the name.
func (s *skipping) skips(tag string) bool {
	if !s.on {
		return false
	}
	s.sorted = s.sorted && s.last <= tag
	s.last = tag
	s.on = tag != s.after
	return true
}
