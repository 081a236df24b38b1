package registry

import (
	"context"
	"iter"
	"sort"
	"strings"
	"time"
)

const (
	maxScans   = 16        // repositories whose scan is remembered
	maxScanAge = time.Hour // after which one that goes on lists again
)

// scans remembers which artifacts no tag and no index names, of repositories
// whose listing was interrupted. To find that out takes a look at every
// manifest; were each slice of a long listing to begin with that, it might
// never end.
//
// Only a listing that goes on where it was interrupted uses what is
// remembered, and drops it at its end; one that starts looks for itself. So
// nothing a tag got or lost before a listing began is missed by it, and what
// changes meanwhile is the next one's. It takes 32 bytes for each artifact.
type scans struct {
	lists *lru[string, scan]
	now   func() time.Time
}

// A scan is what was found in one repository.
type scan struct {
	unnamed [][32]byte // sorted; not changed any more
	at      time.Time
}

func newScans() *scans {
	return &scans{lists: newLRU[string, scan](maxScans), now: time.Now}
}

// untagged yields the artifacts of one repository that no tag names, that no
// index of the repository names, and that are no signatures, in the order of
// their digests.
func (s *scans) untagged(ctx context.Context, q Query, from source) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		after, resumed := strings.CutPrefix(q.After, untaggedCursor)
		found, known := s.lists.get(q.Repository)
		if !known || !resumed || s.now().Sub(found.at) > maxScanAge {
			unnamed, err := from.unnamed(ctx)
			if err != nil {
				yield(Artifact{}, err)
				return
			}
			found = scan{unnamed: unnamed, at: s.now()}
		}
		list := found.unnamed
		if resumed {
			list = list[sort.Search(len(list), func(i int) bool { return hashOf(list[i]).String() > after }):]
		}
		for _, item := range list {
			a, ok, err := from.untaggedArtifact(ctx, q.Repository, hashOf(item))
			if !ok {
				continue
			}
			if !yield(a, err) || a.Repository == "" {
				s.lists.put(q.Repository, found)
				return
			}
		}
		s.lists.drop(func(repository string) bool { return repository == q.Repository })
	}
}
