package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layoutLock is the file that writers of a layout's index lock. It stays:
// removing it would let two writers lock two files of that name.
const layoutLock = "index.json.lock"

// Resolve implements Store by reading the manifest.
func (l *layouts) Resolve(ctx context.Context, repository, ref string) (Descriptor, error) {
	m, err := l.get(ctx, repository, ref)
	if err != nil {
		return Descriptor{}, fmt.Errorf("resolving %s: %w", refName(l.name, repository, ref), err)
	}
	return m.Descriptor, nil
}

// Manifest implements Store.
func (l *layouts) Manifest(ctx context.Context, repository, ref string) (Manifest, error) {
	m, err := l.get(ctx, repository, ref)
	if err != nil {
		return Manifest{}, fmt.Errorf("reading %s: %w", refName(l.name, repository, ref), err)
	}
	return m, nil
}

func (l *layouts) get(ctx context.Context, repository, ref string) (Manifest, error) {
	if err := ctx.Err(); err != nil {
		return Manifest{}, err
	}
	dir, err := l.dir(repository)
	if err != nil {
		return Manifest{}, err
	}
	d, digest, err := l.find(ctx, dir, ref)
	if err != nil {
		return Manifest{}, err
	}
	return l.manifest(dir, digest, d.MediaType)
}

func (l *layouts) manifest(dir string, digest v1.Hash, said string) (Manifest, error) {
	raw, err := readFile(l.root, blobPath(dir, digest), MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	return newManifest(raw, said, digest)
}

func blobPath(dir string, digest v1.Hash) string {
	return path.Join(dir, "blobs", digest.Algorithm, digest.Hex)
}

// Blob implements Store.
func (l *layouts) Blob(ctx context.Context, repository string, digest v1.Hash, limit int64) ([]byte, error) {
	raw, err := l.blob(ctx, repository, digest, limit)
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", refName(l.name, repository, digest.String()), err)
	}
	return raw, nil
}

func (l *layouts) blob(ctx context.Context, repository string, digest v1.Hash, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, _, err := parseRef(digest.String()); err != nil {
		return nil, err
	}
	dir, err := l.dir(repository)
	if err != nil {
		return nil, err
	}
	raw, err := readFile(l.root, blobPath(dir, digest), limit)
	if err != nil {
		return nil, err
	}
	if _, err := checkDigest(raw, digest); err != nil {
		return nil, err
	}
	return raw, nil
}

// PutBlob implements Store. A blob that is there and whole is left alone.
func (l *layouts) PutBlob(ctx context.Context, repository string, content []byte) (v1.Hash, error) {
	digest := sum(content)
	if err := l.putBlob(ctx, repository, digest, content); err != nil {
		return v1.Hash{}, fmt.Errorf("writing blob %s: %w", refName(l.name, repository, digest.String()), err)
	}
	return digest, nil
}

func (l *layouts) putBlob(ctx context.Context, repository string, digest v1.Hash, content []byte) error {
	if _, err := l.blob(ctx, repository, digest, int64(len(content))); err == nil {
		return nil
	}
	dir, err := l.dir(repository)
	if err != nil {
		return err
	}
	file := blobPath(dir, digest)
	if err := l.root.MkdirAll(path.Dir(file), 0o755); err != nil {
		return missing(err)
	}
	return l.replace(ctx, file, content)
}

// replace writes a file so that others see all of it or none, and a power cut
// leaves the old or the new one.
func (l *layouts) replace(ctx context.Context, file string, content []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	temporary := path.Join(path.Dir(file), ".tmp-"+strconv.FormatUint(rand.Uint64(), 36)) //nolint:gosec // only a name
	f, err := l.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return missing(err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = l.root.Rename(temporary, file)
	}
	if err != nil {
		return errors.Join(missing(err), l.root.Remove(temporary))
	}
	return l.syncDir(path.Dir(file))
}

func (l *layouts) syncDir(dir string) error {
	f, err := l.root.Open(dir)
	if err != nil {
		return missing(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return missing(err)
	}
	return nil
}

// PutManifest implements Store. Under a tag, the manifest takes the place of
// the one that had it. Writers in other processes lose nothing if they, too,
// hold a flock on index.json.lock while they rewrite the index.
func (l *layouts) PutManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	digest, err := l.putManifest(ctx, repository, ref, mediaType, raw)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing %s: %w", refName(l.name, repository, ref), err)
	}
	return digest, nil
}

func (l *layouts) putManifest(ctx context.Context, repository, ref, mediaType string, raw []byte) (v1.Hash, error) {
	want, isDigest, err := parseRef(ref)
	if err != nil {
		return v1.Hash{}, err
	}
	if len(raw) > MaxManifest {
		return v1.Hash{}, fmt.Errorf("manifest of %d bytes, at most %d are written: %w", len(raw), MaxManifest, ErrTooLarge)
	}
	m, err := newManifest(raw, mediaType, want)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := l.putBlob(ctx, repository, m.Digest, raw); err != nil {
		return v1.Hash{}, err
	}
	s, err := parseShape(raw)
	if err != nil {
		return v1.Hash{}, err
	}
	d := layoutDescriptor{
		MediaType: mediaType, Digest: m.Digest.String(), Size: m.Size, ArtifactType: s.ArtifactType,
	}
	if !isDigest {
		d.Annotations = map[string]string{refAnnotation: ref}
	}
	dir, err := l.dir(repository)
	if err != nil {
		return v1.Hash{}, err
	}
	return m.Digest, l.enter(ctx, dir, d)
}

// enter puts d into a layout's index.
func (l *layouts) enter(ctx context.Context, dir string, d layoutDescriptor) error {
	return l.rewrite(ctx, dir, func(raw []byte) ([]byte, error) { return withDescriptor(raw, d) })
}

var _ Deleter = (*layouts)(nil)

// Delete implements Deleter: the manifest and every tag that names it go.
func (l *layouts) Delete(ctx context.Context, repository string, digest v1.Hash) error {
	if err := l.delete(ctx, repository, digest); err != nil {
		return fmt.Errorf("deleting %s: %w", refName(l.name, repository, digest.String()), err)
	}
	return nil
}

func (l *layouts) delete(ctx context.Context, repository string, digest v1.Hash) error {
	if _, _, err := parseRef(digest.String()); err != nil {
		return err
	}
	dir, err := l.dir(repository)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	// Only a manifest: other content is named by digests that we do not see.
	_, err = l.manifest(dir, digest, "")
	isManifest := err == nil
	// The index goes first: a manifest that nothing names does no harm.
	if err := l.rewrite(ctx, dir, func(raw []byte) ([]byte, error) { return withoutDigest(raw, digest) }); err != nil {
		return err
	}
	if !isManifest {
		return nil
	}
	if err := l.root.Remove(blobPath(dir, digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return missing(err)
	}
	return nil
}

// rewrite changes a layout's index under the lock. change returns nil if there
// is nothing to change.
func (l *layouts) rewrite(ctx context.Context, dir string, change func(raw []byte) ([]byte, error)) error {
	lock, err := l.root.OpenFile(path.Join(dir, layoutLock), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return missing(err)
	}
	defer lock.Close() //nolint:errcheck // never written to; closing unlocks
	if err := lockFile(ctx, lock); err != nil {
		return err
	}
	file := path.Join(dir, layoutIndex)
	raw, err := readFile(l.root, file, maxLayoutIndex)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	next, err := change(raw)
	if err != nil || next == nil {
		return err
	}
	if len(next) > maxLayoutIndex {
		return fmt.Errorf("%s would grow to %d bytes: %w", layoutIndex, len(next), ErrTooLarge)
	}
	return l.replace(ctx, file, next)
}

// withDescriptor returns an index with d in it, or nil if d is in it already.
// The other entries and fields keep their values; entries with the same tag
// go.
func withDescriptor(raw []byte, d layoutDescriptor) ([]byte, error) {
	index, entries, err := parseLayoutIndex(raw)
	if err != nil {
		return nil, err
	}
	tag, tagged := d.tag()
	kept, there := entries[:0:0], false
	for _, raw := range entries {
		var e layoutDescriptor
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("%s: manifests: %w: %s", layoutIndex, ErrCorrupt, plain(err.Error()))
		}
		theirs, named := e.tag()
		sameTag := tagged && named && theirs == tag
		if e.Digest == d.Digest && (sameTag || !tagged) {
			there = true
		}
		if !sameTag {
			kept = append(kept, raw)
		}
	}
	if there && len(entries)-len(kept) <= 1 { // and no other has the tag
		return nil, nil
	}
	entry, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", layoutIndex, err)
	}
	if index["manifests"], err = json.Marshal(slices.Concat(kept, []json.RawMessage{entry})); err != nil {
		return nil, fmt.Errorf("%s: %w", layoutIndex, err)
	}
	return json.Marshal(index)
}

// withoutDigest returns an index without the entries of a digest, or nil if it
// has none.
func withoutDigest(raw []byte, digest v1.Hash) ([]byte, error) {
	index, entries, err := parseLayoutIndex(raw)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(slices.Clone(entries), func(raw json.RawMessage) bool {
		var e layoutDescriptor
		return json.Unmarshal(raw, &e) == nil && e.Digest == digest.String()
	})
	if len(kept) == len(entries) {
		return nil, nil
	}
	if index["manifests"], err = json.Marshal(kept); err != nil {
		return nil, fmt.Errorf("%s: %w", layoutIndex, err)
	}
	return json.Marshal(index)
}

// parseLayoutIndex returns the fields of a layout's index, and its entries.
func parseLayoutIndex(raw []byte) (index map[string]json.RawMessage, entries []json.RawMessage, err error) {
	index = map[string]json.RawMessage{"schemaVersion": json.RawMessage("2")}
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, nil, fmt.Errorf("%s: %w: %s", layoutIndex, ErrCorrupt, plain(err.Error()))
		}
	}
	if index == nil { // it says null
		return nil, nil, fmt.Errorf("%s is no object: %w", layoutIndex, ErrCorrupt)
	}
	if list, found := index["manifests"]; found {
		if err := json.Unmarshal(list, &entries); err != nil {
			return nil, nil, fmt.Errorf("%s: manifests: %w: %s", layoutIndex, ErrCorrupt, plain(err.Error()))
		}
	}
	return index, entries, nil
}
