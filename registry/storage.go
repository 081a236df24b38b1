package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	storageRoot = "docker/registry/v2"
	readBatch   = 512     // directory entries read at once
	maxLink     = 4 << 10 // bytes of a link file
)

// A storage is docker distribution's directory, read and never written. Links
// that lead out of it are not followed. Manifests are seen that have a SHA-256
// digest, which is what distribution gives them.
type storage struct{ root *os.Root }

func openStorage(dir string) (*storage, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &storage{root: root}, nil
}

// source is where the manifests of one repository are.
func (s *storage) source(repository string) source {
	return source{
		list: func(ctx context.Context) (*revisions, error) {
			r, err := s.revisions(ctx, repository)
			if err != nil {
				err = fmt.Errorf("looking for untagged artifacts of %s in the storage: %w", repository, err)
			}
			return r, err
		},
		read: func(_ context.Context, digest v1.Hash) (Manifest, error) { return s.revision(repository, digest) },
	}
}

// manifestsDir is only of use with a valid name.
func manifestsDir(repository string) string {
	return path.Join(storageRoot, "repositories", repository, "_manifests")
}

func revisionsDir(repository string) string {
	return path.Join(manifestsDir(repository), "revisions", "sha256")
}

// revisions lists a repository that the storage may not have: ErrNotFound.
func (s *storage) revisions(ctx context.Context, repository string) (*revisions, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	r := &revisions{}
	err := readDir(ctx, s.root, revisionsDir(repository), func(entry fs.DirEntry) error {
		digest, err := v1.NewHash("sha256:" + entry.Name())
		if err != nil {
			return nil // no revision
		}
		return r.all.add(digest)
	})
	if err != nil {
		return nil, err
	}
	tags := path.Join(manifestsDir(repository), "tags")
	err = readDir(ctx, s.root, tags, func(entry fs.DirEntry) error {
		return s.addTag(&r.tagged, path.Join(tags, entry.Name(), "current", "link"))
	})
	if err != nil && !errors.Is(err, ErrNotFound) { // no tag was ever set
		return nil, err
	}
	return r, nil
}

// readDir reads a directory in batches, in no particular order.
func readDir(ctx context.Context, root *os.Root, dir string, each func(fs.DirEntry) error) error {
	f, err := root.Open(dir)
	if err != nil {
		return missing(err)
	}
	defer f.Close() //nolint:errcheck // only read
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		entries, err := f.ReadDir(readBatch)
		for _, entry := range entries {
			if err := each(entry); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// addTag adds the digest that a tag's link holds. A tag that is deleted or
// broken names nothing.
func (s *storage) addTag(set *digestSet, link string) error {
	raw, err := readFile(s.root, link, maxLink)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	digest, err := v1.NewHash(strings.TrimSpace(string(raw)))
	if err != nil || digest.Algorithm != "sha256" {
		return nil
	}
	return set.add(digest)
}

// revision reads a manifest of a repository, if its link is there: a deleted
// one leaves its directory behind, and its content until that is collected.
func (s *storage) revision(repository string, digest v1.Hash) (Manifest, error) {
	if _, err := s.root.Stat(path.Join(revisionsDir(repository), digest.Hex, "link")); err != nil {
		return Manifest{}, missing(err)
	}
	raw, err := readFile(s.root, path.Join(storageRoot, "blobs", "sha256", digest.Hex[:2], digest.Hex, "data"), MaxManifest)
	if err != nil {
		return Manifest{}, err
	}
	return newManifest(raw, "", digest)
}

// readFile reads a regular file of at most limit bytes.
func readFile(root *os.Root, file string, limit int64) ([]byte, error) {
	f, err := root.Open(file)
	if err != nil {
		return nil, missing(err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: %w", plain(file), ErrCorrupt)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("file of %d bytes, at most %d are read: %w", info.Size(), limit, ErrTooLarge)
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("file grows beyond %d bytes: %w", limit, ErrTooLarge)
	}
	return raw, nil
}

// missing gives a file error its sentinel.
func missing(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
