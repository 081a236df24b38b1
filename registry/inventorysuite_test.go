package registry

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// A suiteInventory is a Registry as registrytest.Suite sees it.
type suiteInventory struct{ Registry }

// suiteTarget returns r, of what s holds, for registrytest.Suite. Callers set
// what is special to their kind.
func suiteTarget(r Registry, s *registrytest.Server) *registrytest.SuiteTarget {
	return &registrytest.SuiteTarget{Inventory: suiteInventory{r}, Server: s, NotFound: ErrNotFound, Forbidden: ErrForbidden}
}

func (i suiteInventory) Artifacts(ctx context.Context, q registrytest.Query) iter.Seq2[registrytest.Artifact, error] {
	return func(yield func(registrytest.Artifact, error) bool) {
		for a, err := range i.Registry.Artifacts(ctx, Query(q)) {
			if !yield(registrytest.Artifact{
				Repository: a.Repository, MediaType: a.MediaType, Digest: a.Digest, Size: a.Size, Unread: a.Unread, Tags: a.Tags, Cursor: a.Cursor,
			}, err) {
				return
			}
		}
	}
}

func (i suiteInventory) Sent() int64 { return i.Requests().Total() }

func (i suiteInventory) Delete(ctx context.Context, repository string, digest v1.Hash) error {
	d, ok := i.Registry.(Deleter)
	if !ok {
		return fmt.Errorf("a %T deletes nothing", i.Registry)
	}
	return d.Delete(ctx, repository, digest)
}

func (i suiteInventory) Close() error {
	closeAll(i.Registry)
	return nil
}

func TestSuiteGeneric(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		registrytest.Watch(t, s)
		cfg := config(s.Host)
		cfg.PageSize = 10_000 // this server tells of no further page
		target := suiteTarget(open(t, cfg), s)
		target.PerArtifact = 1
		return target
	})
}

func TestSuiteDistribution(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget { return distributionTarget(t, false) })
}

func TestSuiteDistributionWithStorage(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget { return distributionTarget(t, true) })
}

func distributionTarget(t *testing.T, storage bool) *registrytest.SuiteTarget {
	t.Helper()
	s := registrytest.Distribution(t)
	cfg := config(s.Host)
	cfg.Kind, cfg.PageSize = KindDistribution, 5
	if storage {
		cfg.Storage = s.Storage()
	}
	target := suiteTarget(open(t, cfg), s)
	target.Untagged, target.PageSize, target.PerArtifact = storage, cfg.PageSize, 1
	target.Fill = func(t *testing.T, n int) registrytest.Filled { return filled(t, s, n) }
	cfg.PageSize = defaultPageSize
	target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, defaultPageSize
	return target
}

// filled gives an image n tags, straight in the storage of s.
func filled(t *testing.T, s *registrytest.Server, n int) registrytest.Filled {
	t.Helper()
	f := registrytest.Filled{Repository: "team/many", Tags: map[string]string{}}
	digest := s.Push(t, f.Repository+":v0", registrytest.Image(t)).String()
	tags := filepath.Join(s.Root, manifestsDir(f.Repository), "tags")
	for i := range n {
		tag := fmt.Sprintf("v%d", i)
		f.Tags[tag] = digest
		if err := os.MkdirAll(filepath.Join(tags, tag, "current"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tags, tag, "current", "link"), []byte(digest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestSuiteLayout(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		dir := t.TempDir()
		target := suiteTarget(layoutOver(t, dir), nil)
		target.Untagged, target.Forgets = true, true
		target.Create = func(t *testing.T, repository string) {
			t.Helper()
			if _, err := os.Stat(filepath.Join(dir, repository, layoutMarker)); err != nil {
				newLayout(t, filepath.Join(dir, repository))
			}
		}
		target.Fill = func(t *testing.T, n int) registrytest.Filled { return filledLayout(t, dir, n) }
		return target
	})
}

// filledLayout writes an index of n tags. What they name is not looked at.
func filledLayout(t *testing.T, dir string, n int) registrytest.Filled {
	t.Helper()
	f := registrytest.Filled{Repository: "team/many", Tags: map[string]string{}}
	root := filepath.Join(dir, f.Repository)
	newLayout(t, root)
	entries := make([]any, 0, n)
	for i := range n {
		tag := fmt.Sprintf("t%05d", i)
		raw := encode(t, map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "layers": []any{}, "annotations": map[string]string{"n": tag}})
		d := layoutDescriptor{MediaType: ociManifest, Digest: sum(raw).String(), Size: int64(len(raw)), Annotations: map[string]string{refAnnotation: tag}}
		entries, f.Tags[tag] = append(entries, d), d.Digest
	}
	index := encode(t, map[string]any{"schemaVersion": 2, "manifests": entries})
	if err := os.WriteFile(filepath.Join(root, "index.json"), index, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}
