package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	zotReads     = 10                     // of an index that is being written
	zotReadPause = 100 * time.Millisecond // between two of them
)

// A zotStorage is zot's rootDirectory, read and never written.
type zotStorage struct {
	layouts *layouts
}

func openZotStorage(cfg Config) (*zotStorage, error) {
	info, err := os.Stat(cfg.Storage)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory", cfg.Storage)
	}
	opened, err := openLayouts(Config{Name: cfg.Name, Host: layoutScheme + cfg.Storage})
	if err != nil {
		return nil, err
	}
	l, ok := opened.(*layouts)
	if !ok || l.single != "" {
		return nil, errors.Join(fmt.Errorf("%s is an OCI layout, want zot's rootDirectory, which has one for each repository", cfg.Storage), l.Close())
	}
	return &zotStorage{layouts: l}, nil
}

// untagged yields the untagged artifacts of a repository. zot keeps what loses
// its tag in the layout's index, without one.
func (s *zotStorage) untagged(ctx context.Context, q Query) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		dir, err := s.layouts.dir(q.Repository)
		if err != nil {
			yield(Artifact{}, fmt.Errorf("looking for untagged artifacts in the storage: %w", err))
			return
		}
		from := source{
			list: func(ctx context.Context) (*revisions, error) { return s.list(ctx, dir, q) },
			read: func(_ context.Context, digest v1.Hash) (Manifest, error) { return s.layouts.manifest(dir, digest, "") },
		}
		for a, err := range s.layouts.scans.untagged(ctx, q, from) {
			if !yield(a, err) {
				return
			}
		}
	}
}

// list reads the index of a layout. zot writes it over in place: one that cannot
// be understood, or has changed when it has been read, is read again.
func (s *zotStorage) list(ctx context.Context, dir string, q Query) (*revisions, error) {
	for attempt := 1; ; attempt++ {
		before, err := s.index(dir)
		if err != nil {
			return nil, err
		}
		scan := layoutScan{q: q, skip: true}
		found, scanErr := s.layouts.scan(ctx, dir, &scan)
		after, err := s.index(dir)
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case scanErr != nil && !errors.Is(scanErr, ErrCorrupt):
			return nil, scanErr
		case scanErr == nil && unchanged(before, after):
			return found, nil
		case attempt == zotReads && scanErr == nil:
			return nil, fmt.Errorf("the index of %s changes as it is read: %w", q.Repository, ErrUnavailable)
		case attempt == zotReads:
			return nil, scanErr
		}
		if err := pause(ctx, zotReadPause); err != nil {
			return nil, err
		}
	}
}

func (s *zotStorage) index(dir string) (fs.FileInfo, error) {
	info, err := s.layouts.root.Stat(path.Join(dir, layoutIndex))
	if err != nil {
		return nil, missing(err)
	}
	return info, nil
}

func unchanged(before, after fs.FileInfo) bool {
	return os.SameFile(before, after) && before.Size() == after.Size() && before.ModTime().Equal(after.ModTime())
}
