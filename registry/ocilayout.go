package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const layoutMarker = "oci-layout"

// layouts is a directory as a registry: it is itself an OCI image layout, and
// so one repository named after it, or each layout below it is a repository,
// as under zot's storage root. No request is ever sent.
type layouts struct {
	name   string
	root   *os.Root
	single string // the repository's name if the directory is a layout
}

var _ Registry = (*layouts)(nil)

func openLayouts(cfg Config) (Registry, error) {
	dir, found := strings.CutPrefix(cfg.Host, layoutScheme)
	if !found || dir == "" {
		return nil, fmt.Errorf("registry %s: host: %q: want %sDIR", cfg.Name, cfg.Host, layoutScheme)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("registry %s: host: %w", cfg.Name, err)
	}
	l := &layouts{name: cfg.Name, root: root}
	if l.isLayout(".") {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("registry %s: host: %w", cfg.Name, err), root.Close())
		}
		l.single = layoutName(filepath.Base(absolute))
	}
	return l, nil
}

// unnamable is what may not be in a part of a repository's name.
var unnamable = regexp.MustCompile(`[^a-z0-9]+`)

// layoutName makes a repository's name of a directory's.
func layoutName(base string) string {
	base = strings.ToLower(base)
	if checkRepository(base) == nil {
		return base
	}
	base = strings.Trim(unnamable.ReplaceAllString(base, "-"), "-")
	if checkRepository(base) != nil {
		return "layout"
	}
	return base
}

func (l *layouts) isLayout(dir string) bool {
	info, err := l.root.Stat(path.Join(dir, layoutMarker))
	return err == nil && info.Mode().IsRegular()
}

// Host is the registry's configured name: a directory has no host.
func (l *layouts) Host() string { return l.name }

// Requests is always empty.
func (l *layouts) Requests() Counters { return Counters{} }

// Untagged implements Inventory.
func (l *layouts) Untagged() string { return "" }

// Close closes the directory.
func (l *layouts) Close() error { return l.root.Close() }

// Repositories implements Inventory. Links to directories are not followed.
func (l *layouts) Repositories(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if l.single != "" {
			yield(l.single, nil)
			return
		}
		if err := l.walk(ctx, ".", yield); err != nil && !errors.Is(err, errStopped) {
			yield("", fmt.Errorf("listing the repositories in %s: %w", l.root.Name(), err))
		}
	}
}

// errStopped says that the caller wants no more.
var errStopped = errors.New("stopped")

// walk yields the layouts below dir. A repository may lie inside another one:
// only the blobs directory of a layout is its own.
func (l *layouts) walk(ctx context.Context, dir string, yield func(string, error) bool) error {
	layout := dir != "." && l.isLayout(dir)
	if layout && !yield(dir, checkRepository(dir)) {
		return errStopped
	}
	var below []string // a directory's own, so that few files are open at once
	err := readDir(ctx, l.root, dir, func(entry fs.DirEntry) error {
		if entry.IsDir() && (!layout || entry.Name() != "blobs") {
			below = append(below, path.Join(dir, entry.Name()))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, child := range below {
		if err := l.walk(ctx, child, yield); err != nil {
			return err
		}
	}
	return nil
}

// dir returns where a repository's layout is.
func (l *layouts) dir(repository string) (string, error) {
	if err := checkRepository(repository); err != nil {
		return "", err
	}
	dir := repository
	if l.single != "" {
		if repository != l.single {
			return "", fmt.Errorf("repository %s, there is only %s: %w", repository, l.single, ErrNotFound)
		}
		dir = "."
	}
	if !l.isLayout(dir) {
		return "", fmt.Errorf("repository %s: %w", repository, ErrNotFound)
	}
	return dir, nil
}

// Artifacts implements Inventory: tagged artifacts in the order of the index,
// then untagged ones in the order of their digests. The tagged ones always
// start again, whatever the cursor: a layout's index keeps no order, and is
// quick to read.
func (l *layouts) Artifacts(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		dir, err := l.dir(q.Repository)
		if err != nil {
			yield(Artifact{}, err)
			return
		}
		r := &revisions{read: func(_ context.Context, digest v1.Hash) (Manifest, error) {
			return l.manifest(dir, digest, "")
		}}
		err = l.descriptors(ctx, dir, func(d layoutDescriptor) error {
			return visit(d, q, r, yield)
		})
		if err != nil {
			if !errors.Is(err, errStopped) {
				yield(Artifact{}, fmt.Errorf("reading the index of %s: %w", q.Repository, err))
			}
			return
		}
		if !q.Untagged {
			return
		}
		for a, err := range r.untagged(ctx, q) {
			if !yield(a, err) {
				return
			}
		}
	}
}

// visit yields a descriptor of an index that has a wanted tag, and remembers
// it for the search for untagged ones.
func visit(d layoutDescriptor, q Query, r *revisions, yield func(Artifact, error) bool) error {
	a := Artifact{Repository: q.Repository}
	tag, tagged := d.tag()
	digest, err := v1.NewHash(d.Digest)
	if err != nil {
		if tagged {
			a.Tags = []string{plain(tag)}
		}
		if !yield(a, fmt.Errorf("digest %q in the index is not valid: %w", plain(d.Digest), ErrCorrupt)) {
			return errStopped
		}
		return nil
	}
	if q.Untagged {
		if err := r.note(digest, tagged); err != nil {
			a.Digest = digest
			if !yield(a, err) {
				return errStopped
			}
			return nil
		}
	}
	if !tagged || q.Tags == nil || IsSignatureTag(tag) {
		return nil
	}
	a.Descriptor = Descriptor{MediaType: d.MediaType, Digest: digest, Size: d.Size}
	a.Tags, a.Cursor = []string{plain(tag)}, tag
	if err = checkTag(tag); err == nil && !q.Tags(tag) {
		return nil
	}
	if !yield(a, err) {
		return errStopped
	}
	return nil
}

// note adds a descriptor of an index. Only untagged ones must fit the set of
// digests: tagged ones of other algorithms are never looked for in it.
func (r *revisions) note(digest v1.Hash, tagged bool) error {
	if tagged && digest.Algorithm != "sha256" {
		return nil
	}
	if tagged {
		if err := r.tagged.add(digest); err != nil {
			return err
		}
	}
	return r.all.add(digest)
}
