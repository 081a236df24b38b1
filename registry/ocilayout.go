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
)

const layoutMarker = "oci-layout"

// layouts is a directory as a registry: it is itself an OCI image layout, and
// so one repository named after it, or each layout below it is a repository,
// as under zot's storage root. No request is ever sent.
type layouts struct {
	name   string
	root   *os.Root
	single string // the repository's name if the directory is a layout
	scans  *scans
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
	l := &layouts{name: cfg.Name, root: root, scans: newScans()}
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

// Reach implements Registry: whether the directory can be read.
func (l *layouts) Reach(context.Context) error {
	if _, err := l.root.Stat("."); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

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
