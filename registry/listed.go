package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A manifestLister is what a registry's own API lists, beyond the distribution API: all
// manifests of a repository with their digests, so that no tag need be resolved.
// Its requests go through the client's transport. It is safe for concurrent use.
type manifestLister interface {
	// repositories yields full repository names, as Inventory.Repositories does.
	repositories(ctx context.Context) iter.Seq2[string, error]
	// manifests yields the manifests of a repository from the one after the
	// cursor on ("": from the first), each once with all its tags, those of
	// signatures included. It holds at most one page. An error with a digest
	// concerns only that manifest; any other ends it. A repository that is not
	// there is ErrNotFound.
	manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error]
	// untagged returns "" when manifests without tags are listed, else why not.
	untagged() string
}

// A tagResolver is a manifestLister whose listing leaves out tags. Those of its
// repositories are listed by the distribution API instead, and the wanted ones of
// which its listing does not tell what they name are resolved by one HEAD each.
type tagResolver interface{ resolvesTags() (tellsSome bool) }

// A listedManifest is one entry of a registry's own listing.
type listedManifest struct {
	// Descriptor has the digest. MediaType is empty and Size 0 where the listing
	// does not say them; a size that is the image's and not the manifest's is
	// none.
	Descriptor
	// Image says that it is no index where MediaType does not say what it is.
	Image bool
	// ArtifactType is the manifest's, or its config's media type; empty where
	// the listing does not say it.
	ArtifactType string
	Tags         []string
	// Children are what an index names, where the listing says it.
	Children []v1.Hash
	// Cursor continues the listing after this manifest.
	Cursor string
}

// known reports whether the listing says enough to tell what an index names, or
// an image from a signature. What an index names does not tell whether it is a
// fallback index: that one is has no tag, or no tag but those of signatures.
func (m *listedManifest) known() bool {
	if IsIndex(m.MediaType) {
		return m.Children != nil && slices.ContainsFunc(m.Tags, func(tag string) bool { return !IsSignatureTag(tag) })
	}
	return m.MediaType != "" && listedArtifactType(m.ArtifactType) != ""
}

// A listed registry is seen through its own listing, and read and written
// through the distribution API.
type listed struct {
	*Client
	lister manifestLister
	scans  *scans
	nature *lru[place, nature]
}

var _ Registry = (*listed)(nil)

// A nature is what a manifest is. It never changes, so it is asked for once.
type nature struct {
	descriptor Descriptor
	signature  bool
	children   []v1.Hash // of an index that is no fallback index
}

// maxNatures is how many manifests' natures are remembered.
const maxNatures = 1 << 16

// openListed returns a client's registry of a kind that has a listing of its
// own. It sends no request, and changes the client's login only if it succeeds.
func openListed(client *Client, cfg Config) (Registry, error) {
	open, ok := map[string]func(*Client, Config) (manifestLister, error){
		KindHarbor: openHarbor, KindQuay: openQuay,
		KindECR: openECR, KindGAR: openGAR, KindACR: openACR,
		KindOCIR: openOCIR, KindSWR: openSWR, KindTCR: openTCR,
		KindNexus: openNexus, KindArtifactory: openArtifactory, KindGitLab: openGitLab,
	}[cfg.Kind]
	if !ok {
		return nil, fmt.Errorf("kind %s: %w", cfg.Kind, ErrUnsupported)
	}
	lister, err := open(client, cfg)
	if err != nil {
		return nil, err
	}
	return newListed(client, lister), nil
}

func newListed(client *Client, m manifestLister) *listed {
	return &listed{Client: client, lister: m, scans: newScans(), nature: newLRU[place, nature](maxNatures)}
}

// Repositories implements Inventory.
func (l *listed) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return l.lister.repositories(ctx)
}

// Untagged implements Inventory.
func (l *listed) Untagged() string { return l.lister.untagged() }

// Artifacts implements Inventory: tagged artifacts first, in the order of the
// listing, then untagged ones in the order of their digests. A tagged artifact
// costs no request beyond the listing's pages, and both together are found in one
// pass over these, unless it is interrupted.
func (l *listed) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		untagged := q.Untagged && l.lister.untagged() == ""
		var names *census
		if !strings.HasPrefix(q.After, untaggedCursor) && q.Tags != nil {
			if untagged && q.After == "" {
				names = &census{}
			}
			tagged := l.tagged
			if _, ok := l.lister.(tagResolver); ok {
				tagged = l.resolved
			}
			if !tagged(ctx, q, names, yield) {
				return
			}
		}
		if untagged {
			l.untagged(ctx, q, names, yield)
		}
	}
}

// resolved yields the wanted tagged artifacts of a tagResolver; false if it is
// over.
func (l *listed) resolved(ctx context.Context, q Query, names *census, yield func(Artifact, error) bool) bool {
	var known knownTag
	if r, ok := l.lister.(tagResolver); ok && r.resolvesTags() {
		told, err := l.told(ctx, q, names)
		if err != nil {
			yield(Artifact{}, err)
			return false
		}
		known = told.known
	}
	for a, err := range l.Client.resolved(ctx, q, l.Tags(ctx, q.Repository, q.After), known) {
		if !yield(a, err) || err != nil && a.Repository == "" {
			return false
		}
	}
	return ctx.Err() == nil
}

// toldTags are the digests that a listing tells of some tags.
type toldTags map[string][32]byte

// known implements knownTag.
func (t toldTags) known(_ context.Context, tag string) (Descriptor, bool) {
	item, ok := t[tag]
	return Descriptor{Digest: hashOf(item)}, ok && item != [32]byte{}
}

// told lists the repository for what its listing tells of the wanted tags. It
// holds 32 bytes and the name of each.
func (l *listed) told(ctx context.Context, q Query, names *census) (toldTags, error) {
	told := toldTags{}
	for m, err := range l.lister.manifests(ctx, q.Repository, "") {
		if err != nil && m.Digest == (v1.Hash{}) {
			return nil, err
		}
		if names != nil {
			names.add(ctx, l, q.Repository, m, err)
		}
		item, odd := itemOf(m.Digest)
		if err != nil || odd != nil {
			continue
		}
		for _, tag := range m.Tags {
			if before, twice := told[tag]; twice && before != item {
				item = [32]byte{} // one of them is of yesterday
			}
			if q.Tags(tag) {
				told[tag] = item
			}
		}
	}
	return told, ctx.Err()
}

// tagged yields the wanted tagged artifacts; false if it is over.
func (l *listed) tagged(ctx context.Context, q Query, names *census, yield func(Artifact, error) bool) bool {
	cursor := q.After
	for m, err := range l.lister.manifests(ctx, q.Repository, q.After) {
		if m.Cursor != "" {
			cursor = m.Cursor
		}
		if names != nil && m.Digest != (v1.Hash{}) {
			names.add(ctx, l, q.Repository, m, err)
		}
		a := Artifact{Repository: q.Repository, Descriptor: m.Descriptor, Unread: m.MediaType == "" && !m.Image, Cursor: cursor}
		if err != nil {
			if m.Digest == (v1.Hash{}) {
				yield(Artifact{}, err)
				return false
			}
			if !yield(a, err) {
				return false
			}
			continue
		}
		for _, tag := range m.Tags {
			if IsSignatureTag(tag) {
				continue
			}
			if err := checkTag(tag); err != nil {
				if !yield(Artifact{Repository: q.Repository, Tags: []string{plain(tag)}, Cursor: cursor}, err) {
					return false
				}
				continue
			}
			if q.Tags(tag) {
				a.Tags = append(a.Tags, tag)
			}
		}
		if len(a.Tags) == 0 {
			continue
		}
		if !yield(a, nil) {
			return false
		}
	}
	if ctx.Err() != nil { // a listing that was cut short is not to be taken for a whole one
		yield(Artifact{}, ctx.Err())
	}
	return ctx.Err() == nil
}

// untagged yields the artifacts that no tag and no index names and that are no
// signatures. What was found is remembered for a listing that is interrupted.
// names is what the pass over the tagged ones told, nil without one.
func (l *listed) untagged(ctx context.Context, q Query, names *census, yield func(Artifact, error) bool) {
	after, resumed := strings.CutPrefix(q.After, untaggedCursor)
	found, known := l.scans.lists.get(q.Repository)
	if !known || !resumed || l.scans.now().Sub(found.at) > maxScanAge {
		if names == nil {
			names = l.names(ctx, q.Repository)
		}
		if names.err == nil {
			names.err = ctx.Err()
		}
		if names.err != nil {
			yield(Artifact{}, names.err)
			return
		}
		for _, odd := range names.odd {
			if !yield(Artifact{Repository: q.Repository, Descriptor: odd.Descriptor}, odd.fault) {
				return
			}
		}
		found = scan{unnamed: names.unnamed(), at: l.scans.now()}
	}
	list := found.unnamed
	if resumed {
		list = list[sort.Search(len(list), func(i int) bool { return hashOf(list[i]).String() > after }):]
	}
	for _, item := range list {
		a, ok, err := l.untaggedArtifact(ctx, q.Repository, hashOf(item))
		if ok && (!yield(a, err) || a.Repository == "") {
			l.scans.lists.put(q.Repository, found)
			return
		}
	}
	l.scans.lists.drop(func(repository string) bool { return repository == q.Repository })
}

// A census finds out which manifests of a repository no tag and no index names. A
// listing may name a manifest by its digest alone in one entry and by a tag in
// another. It holds 32 bytes for each manifest and each child of an index.
type census struct {
	bare, named digestSet
	odd         []listedEntry // bare ones whose digest fits in no set
	err         error         // why it cannot be told; nothing is added after it
}

// names lists the repository.
func (l *listed) names(ctx context.Context, repository string) *census {
	n := &census{}
	for m, err := range l.lister.manifests(ctx, repository, "") {
		if err != nil && m.Digest == (v1.Hash{}) {
			n.err = err
		}
		n.add(ctx, l, repository, m, err)
		if n.err != nil {
			break
		}
	}
	return n
}

// add takes one entry of the listing. It reads the indexes whose children the
// listing does not say.
func (n *census) add(ctx context.Context, l *listed, repository string, m listedManifest, fault error) {
	if n.err != nil || fault != nil { // its own listing says so
		return
	}
	set := &n.bare
	if len(m.Tags) > 0 {
		set = &n.named
	}
	if err := set.add(m.Digest); err != nil && set == &n.bare {
		n.odd = append(n.odd, listedEntry{listedManifest: m, fault: err})
		return
	}
	nature, err := l.natureOf(ctx, repository, m)
	switch {
	case ctx.Err() != nil:
		n.err = ctx.Err()
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt), errors.Is(err, ErrTooLarge):
		return // names nothing; if it is bare, it is reported when its turn comes
	case err != nil: // its children would be taken for artifacts of their own
		n.err = fmt.Errorf("looking for what %s names: %w", m.Digest, err)
	}
	for _, child := range nature.children {
		_ = n.named.add(child) // one that does not fit is not in the other set either
	}
}

// unnamed returns the bare digests that nothing names, sorted.
func (n *census) unnamed() [][32]byte {
	n.bare.sort()
	n.named.sort()
	return slices.Clone(slices.DeleteFunc(n.bare.items, n.named.has))
}

// natureOf returns what a listed manifest is, reading it only if the listing
// does not say and it was not read before. One that is known to be an image and
// has a tag is not read: whether it is a signature does not matter here.
func (l *listed) natureOf(ctx context.Context, repository string, m listedManifest) (nature, error) {
	switch {
	case m.known():
		n := nature{descriptor: m.Descriptor, children: m.Children, signature: isSignatureType(m.ArtifactType)}
		l.nature.put(place{repository, m.Digest}, n)
		return n, nil
	case m.Image, m.MediaType != "" && !IsIndex(m.MediaType):
		return nature{}, nil // names nothing; if it is bare, it is read when its turn comes
	}
	return l.read(ctx, repository, m.Digest)
}

// read returns what a manifest is.
func (l *listed) read(ctx context.Context, repository string, digest v1.Hash) (nature, error) {
	at := place{repository, digest}
	if n, ok := l.nature.get(at); ok {
		return n, nil
	}
	m, err := l.Manifest(ctx, repository, digest.String())
	if err != nil {
		return nature{}, err
	}
	s, err := parseShape(m.Raw)
	if err != nil {
		return nature{}, err
	}
	n := nature{descriptor: m.Descriptor, signature: s.isSignature()}
	if s.isIndex() && !s.isFallback() {
		n.children = make([]v1.Hash, 0, len(s.Manifests))
		for _, e := range s.Manifests {
			if child, err := v1.NewHash(e.Digest); err == nil {
				n.children = append(n.children, child)
			}
		}
	}
	l.nature.put(at, n)
	return n, nil
}

// untaggedArtifact returns one of the unnamed. ok is whether there is something
// to yield: not if it was deleted meanwhile, or is a signature.
func (l *listed) untaggedArtifact(ctx context.Context, repository string, digest v1.Hash) (a Artifact, ok bool, err error) {
	a = Artifact{Repository: repository, Descriptor: Descriptor{Digest: digest}, Cursor: untaggedCursor + digest.String()}
	n, err := l.read(ctx, repository, digest)
	switch {
	case ctx.Err() != nil:
		return Artifact{}, true, ctx.Err()
	case errors.Is(err, ErrNotFound):
		return a, false, nil
	case err != nil:
		return a, true, fmt.Errorf("untagged manifest %s: %w", digest, err)
	}
	a.Descriptor = n.descriptor
	return a, !n.signature, nil
}
