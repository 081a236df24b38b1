package journaltest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/journal"
)

func memory(digest string, at time.Time) journal.Memory {
	return journal.Memory{Registry: "prod", Repository: "app", Digest: digest, Terms: "t", At: at}
}

func wantMemory(t *testing.T, j *journal.Journal, m journal.Memory) {
	t.Helper()
	got, ok, err := j.Recall(t.Context(), m.Registry, m.Repository, m.Digest, m.Terms)
	must(t, err)
	if d := cmp.Diff(m, got); !ok || d != "" {
		t.Errorf("recalled %v (-want +got):\n%s", ok, d)
	}
}

func wantNoMemory(t *testing.T, j *journal.Journal, registry, repository, digest, terms string) {
	t.Helper()
	if got, ok, err := j.Recall(t.Context(), registry, repository, digest, terms); err != nil || ok {
		t.Errorf("recalled %+v, %v", got, err)
	}
}

// Something is remembered by registry, repository, digest and terms, until it
// is forgotten.
func testMemory(t *testing.T, j *journal.Journal) {
	index := memory("sha256:1", tick(1))
	index.Parts = []journal.Part{{Digest: "sha256:2", MediaType: "m"}, {Digest: "sha256:3"}}
	must(t, j.Remember(t.Context(), []journal.Memory{index, memory("sha256:2", tick(1)), memory("sha256:2", tick(1))}))
	wantMemory(t, j, index)
	for _, other := range [][4]string{{"dev", "app", "sha256:1", "t"}, {"prod", "web", "sha256:1", "t"}, {"prod", "app", "sha256:3", "t"}, {"prod", "app", "sha256:1", "u"}} {
		wantNoMemory(t, j, other[0], other[1], other[2], other[3])
	}
	later := memory("sha256:1", tick(2))
	must(t, j.Remember(t.Context(), []journal.Memory{later}))
	wantMemory(t, j, later)
	must(t, j.Forget(t.Context(), "prod", "app", "sha256:1"))
	wantNoMemory(t, j, "prod", "app", "sha256:1", "t")
	wantMemory(t, j, memory("sha256:2", tick(1)))

	// What was pushed without a tag may have been deleted in between.
	untagged := journal.Push{Repository: "app", Digest: "sha256:2", Due: time.Now().Add(time.Hour)}
	deliver(t, j, pushed(), 2, untagged, journal.Push{Repository: "web", Digest: "sha256:2"})
	wantNoMemory(t, j, "prod", "app", "sha256:2", "t")

	many := make([]journal.Memory, 501)
	for i := range many {
		many[i] = memory(fmt.Sprintf("sha256:m%d", i), tick(3))
	}
	must(t, j.Remember(t.Context(), many))
	wantMemory(t, j, many[0])
	wantMemory(t, j, many[500])
}

func testDoubt(t *testing.T, j *journal.Journal) {
	if at, err := j.Doubted(t.Context(), "prod", "t"); err != nil || !at.IsZero() {
		t.Errorf("doubted at %v, %v", at, err)
	}
	before := time.Now().Add(-time.Second)
	for range 2 {
		must(t, j.Doubt(t.Context(), "prod", "t"))
	}
	if at, err := j.Doubted(t.Context(), "prod", "t"); err != nil || at.Before(before) {
		t.Errorf("doubted at %v, %v", at, err)
	}
	if at, err := j.Doubted(t.Context(), "prod", "u"); err != nil || !at.IsZero() {
		t.Errorf("other terms doubted at %v, %v", at, err)
	}
}

func testMemoryRepositories(t *testing.T, j *journal.Journal) {
	for _, r := range []string{"c", "a", "b", "a"} {
		m := memory("sha256:"+r, tick(1))
		m.Repository = r
		other := m
		other.Repository, other.Terms = "z"+r, "u"
		must(t, j.Remember(t.Context(), []journal.Memory{m, other}))
	}
	var all []string
	for after := ""; ; {
		page, err := j.RememberedRepositories(t.Context(), "prod", "t", after, 2)
		must(t, err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
		after = page[len(page)-1]
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, all); d != "" {
		t.Errorf("repositories (-want +got):\n%s", d)
	}
}

// What was verified long ago is forgotten by the way.
func testMemoryOld(t *testing.T, j *journal.Journal) {
	now := time.Now().Truncate(time.Microsecond).UTC()
	old, young := memory("sha256:old", now.AddDate(0, 0, -91)), memory("sha256:young", now.AddDate(0, 0, -89))
	must(t, j.Remember(t.Context(), []journal.Memory{old, young}))
	work(t, j, journal.Handlers{}, journal.JobOptions{}) // sweeps first
	wantNoMemory(t, j, "prod", "app", "sha256:old", "t")
	wantMemory(t, j, young)
}
