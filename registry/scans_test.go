package registry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// watched is a storage whose reads are counted.
func watched(r Registry, repository string) (from source, reads, lists *int) {
	inner := r.(*distribution).storage.source(repository)
	reads, lists = new(int), new(int)
	return source{
		list: func(ctx context.Context) (*revisions, error) {
			*lists++
			return inner.list(ctx)
		},
		read: func(ctx context.Context, digest v1.Hash) (Manifest, error) {
			*reads++
			return inner.read(ctx, digest)
		},
	}, reads, lists
}

func untaggedOf(t *testing.T, s *scans, q Query, from source, most int) (list []Artifact) {
	t.Helper()
	for a, err := range s.untagged(t.Context(), q, from) {
		if err != nil {
			t.Fatal(err)
		}
		if list = append(list, a); len(list) == most {
			break
		}
	}
	return list
}

func pushUntagged(t *testing.T, r Registry, n int) {
	t.Helper()
	for i := range n {
		pushImage(t, r, "app", "", fmt.Sprint("untagged ", i))
	}
}

// A listing in many slices reads each manifest twice at most: once to learn
// what indexes name, once when its turn comes.
func TestScansAreNotRepeated(t *testing.T) {
	r := distributionOver(t, t.TempDir())
	pushUntagged(t, r, 12)
	from, reads, lists := watched(r, "app")
	s := newScans()
	q := Query{Repository: "app", Untagged: true}
	all := untaggedOf(t, newScans(), q, r.(*distribution).storage.source("app"), 100)
	want(t, len(all), 12, "artifacts")
	var got []Artifact
	for len(got) < 12 {
		slice := untaggedOf(t, s, q, from, 1)
		if len(slice) == 0 {
			t.Fatal("a slice yields nothing")
		}
		got = append(got, slice...)
		q.After = got[len(got)-1].Cursor
	}
	want(t, got, all, "artifacts, each once")
	want(t, *lists, 1, "lists")
	want(t, *reads, 24, "reads")

	want(t, untaggedOf(t, s, q, from, 1), nil, "after the last one")
	if _, known := s.lists.get("app"); known {
		t.Error("a listing that has ended is remembered")
	}
}

// Only what goes on uses what is remembered, and not for ever.
func TestScansDoNotGoStale(t *testing.T) {
	r := distributionOver(t, t.TempDir())
	pushUntagged(t, r, 3)
	from, _, lists := watched(r, "app")
	now := time.Now()
	s := newScans()
	s.now = func() time.Time { return now }
	fresh := Query{Repository: "app", Untagged: true}
	first := untaggedOf(t, s, fresh, from, 1)[0]
	pushUntagged(t, r, 5)
	want(t, len(untaggedOf(t, s, fresh, from, 4)), 4, "a listing that starts sees what came later")
	want(t, *lists, 2, "lists")

	resumed := Query{Repository: "app", Untagged: true, After: first.Cursor}
	untaggedOf(t, s, resumed, from, 1)
	want(t, *lists, 2, "lists when one goes on")
	now = now.Add(maxScanAge + time.Second)
	untaggedOf(t, s, resumed, from, 1)
	want(t, *lists, 3, "lists when one goes on much later")
	other := Query{Repository: "other", Untagged: true, After: first.Cursor}
	pushImage(t, r, "other", "", "a")
	otherFrom, _, otherLists := watched(r, "other")
	untaggedOf(t, s, other, otherFrom, 1)
	want(t, *otherLists, 1, "lists of another repository, as after a restart")
}

// The whole inventory: slices of one go through tagged and untagged artifacts,
// and on from the storage as it was when the untagged ones began.
func TestDistributionListingsGoOn(t *testing.T) {
	dir := t.TempDir()
	r := distributionOver(t, dir)
	expected := populate(t, r)
	q := Query{Repository: "team/app", Tags: always, Untagged: true}
	all := artifacts(t, r, q)
	want(t, inSlices(t, r, q, 1), all, "in slices of one")

	_, untagged := split(all)
	want(t, len(untagged), len(expected), "untagged artifacts")
	q.Tags = nil
	for a := range r.Artifacts(t.Context(), q) {
		q.After = a.Cursor
		break
	}
	manifests := filepath.Join(dir, "docker/registry/v2/repositories/team/app/_manifests")
	deleted := untagged[2].Digest.Hex
	for _, err := range []error{
		os.RemoveAll(filepath.Join(manifests, "tags")),
		os.Remove(filepath.Join(manifests, "revisions/sha256", deleted, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want(t, artifacts(t, r, q), []Artifact{untagged[1], untagged[3]}, "the rest, without what was deleted meanwhile")
}

func TestScansAreBounded(t *testing.T) {
	r := distributionOver(t, t.TempDir())
	pushUntagged(t, r, 2)
	s := newScans()
	from, _, _ := watched(r, "app")
	for i := range 2 * maxScans {
		untaggedOf(t, s, Query{Repository: fmt.Sprint("app", i), Untagged: true}, from, 1)
	}
	want(t, len(s.lists.items), maxScans, "repositories remembered")
}
