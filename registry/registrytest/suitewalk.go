package registrytest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// checkMany: nothing is lost or repeated on many pages, and they are all it
// costs.
func checkMany(t *testing.T, target *SuiteTarget) {
	n := target.Many
	f := target.Fill(t, n)
	want := map[string]bool{}
	for tag, digest := range f.Tags {
		want[tag+" "+digest] = true
	}
	if len(want) != n {
		t.Fatalf("%d tags were made", len(want))
	}
	sent := target.Usual.Sent()
	list := collect(t, target.Usual, Query{Repository: f.Repository, Tags: always})
	sent = target.Usual.Sent() - sent
	got := names(list)
	if missing, more := without(want, got), without(got, want); len(missing)+len(more) > 0 || len(list) != n {
		t.Errorf("%d artifacts; %d are missing: %.3q; %d were never made: %.3q", len(list), len(missing), missing, len(more), more)
	}
	if target.UsualPage == 0 {
		return
	}
	const more = 8 // to log in, and to find the end
	if most := int64(n/target.UsualPage + n*target.PerArtifact + more); sent > most {
		t.Errorf("%d requests, want at most %d", sent, most)
	}
}

// checkContinued: a listing that stops anywhere and goes on there misses
// nothing, and repeats no more than a page.
func checkContinued(t *testing.T, target *SuiteTarget) {
	e := populate(t, target, target.Prefix+"team/app")
	want := e.wanted(target)
	whole := target.collect(t, all(e.repository))
	for n := 1; n <= len(whole); n++ {
		first, cursor := target.take(t, e.repository, n)
		q := all(e.repository)
		q.After = cursor
		rest := target.collect(t, q)
		same(t, names(slices.Concat(first, rest)), want, fmt.Sprintf("stopped after %d, continued at %q", n, cursor))
		if again := len(rest) - (len(whole) - n); again > max(1, target.PageSize) {
			t.Errorf("stopped after %d, continued at %q: %d were repeated", n, cursor, again)
		}
	}
}

// take lists the first n artifacts.
func (target *SuiteTarget) take(t *testing.T, repository string, n int) (list []Artifact, cursor string) {
	t.Helper()
	for a, err := range target.Inventory.Artifacts(t.Context(), all(repository)) {
		if err != nil {
			t.Fatalf("listing %s: %v", repository, err)
		}
		if list = append(list, a); len(list) == n {
			return list, a.Cursor
		}
	}
	t.Fatalf("%d artifacts, want at least %d", len(list), n)
	return nil, ""
}

// rows writes images of one tag each, and some without any if those can be
// seen. It returns their names.
func rows(t *testing.T, target *SuiteTarget, repository string, n int) map[string]bool {
	t.Helper()
	w := newWriter(t, target)
	var list []Artifact
	for i := range n {
		tag := fmt.Sprintf("row-%02d", i)
		list = append(list, Artifact{Digest: w.image(repository, tag, tag).digest, Tags: []string{tag}})
		if target.Untagged && i%4 == 0 {
			list = append(list, Artifact{Digest: w.image(repository, "", "untagged "+tag).digest})
		}
	}
	return names(list)
}

// checkContinuedAfterDeletions: what was dealt with goes, the last of it too,
// before the listing goes on.
func checkContinuedAfterDeletions(t *testing.T, target *SuiteTarget) {
	for i, n := range []int{1, 2, 5, 8} {
		repository := fmt.Sprintf("%steam/app%d", target.Prefix, i)
		want := rows(t, target, repository, 10)
		first, cursor := target.take(t, repository, n)
		w := newWriter(t, target)
		for _, a := range first {
			w.delete(repository, a.Digest)
		}
		q := all(repository)
		q.After = cursor
		rest := target.collect(t, q)
		same(t, names(slices.Concat(first, rest)), want, fmt.Sprintf("continued at %q, which is gone", cursor))
	}
}

// during lists a repository and calls each with every artifact. Errors of
// artifacts that are said to be deleted are passed over.
func (target *SuiteTarget) during(t *testing.T, repository string, deleted map[v1.Hash]bool, each func(Artifact)) []Artifact {
	t.Helper()
	var list []Artifact
	for a, err := range target.Inventory.Artifacts(t.Context(), all(repository)) {
		if err != nil && !deleted[a.Digest] && !errors.Is(err, target.NotFound) || err != nil && a.Repository == "" {
			t.Fatalf("listing %s: %+v: %v", repository, a, err)
		}
		if err == nil {
			list = append(list, a)
			each(a)
		}
	}
	return list
}

// checkDeletedBehind: what was yielded is deleted at once. Whoever counts
// entries would pass over as many others.
func checkDeletedBehind(t *testing.T, target *SuiteTarget) {
	repository := target.Prefix + "team/app"
	want := rows(t, target, repository, 20)
	w, deleted := newWriter(t, target), map[v1.Hash]bool{}
	list := target.during(t, repository, deleted, func(a Artifact) {
		if !deleted[a.Digest] {
			w.delete(repository, a.Digest)
			deleted[a.Digest] = true
		}
	})
	same(t, names(list), want, "artifacts")
}

// checkDeletedAhead: what was not yet yielded is deleted. The others are
// yielded all the same.
func checkDeletedAhead(t *testing.T, target *SuiteTarget) {
	repository := target.Prefix + "team/app"
	want := rows(t, target, repository, 12)
	whole := target.collect(t, all(repository))
	w, deleted := newWriter(t, target), map[v1.Hash]bool{}
	list := target.during(t, repository, deleted, func(Artifact) {
		for _, i := range []int{5, len(whole) - 1} {
			if gone := whole[i]; !deleted[gone.Digest] {
				deleted[gone.Digest] = true
				w.delete(repository, gone.Digest)
			}
		}
	})
	got := names(list)
	var gone []Artifact
	for _, a := range whole {
		if deleted[a.Digest] {
			gone = append(gone, a)
		}
	}
	missing := without(want, got)
	for _, name := range missing {
		if !names(gone)[name] {
			t.Errorf("%s is missing, which is still there", name)
		}
	}
}

// checkChurn: for each artifact that goes another one comes, so that their
// number tells nothing.
func checkChurn(t *testing.T, target *SuiteTarget) {
	repository := target.Prefix + "team/app"
	want := rows(t, target, repository, 20)
	w, deleted := newWriter(t, target), map[v1.Hash]bool{}
	list := target.during(t, repository, deleted, func(a Artifact) {
		if n := len(deleted); !deleted[a.Digest] && n < len(want) {
			w.delete(repository, a.Digest)
			deleted[a.Digest] = true
			tag := fmt.Sprintf("%c-new-%02d", "az"[n%2], n)
			w.image(repository, tag, tag)
		}
	})
	if missing := without(want, names(list)); len(missing) > 0 {
		t.Errorf("missing: %q", missing)
	}
}

// checkForbidden: a repository that may not be listed says so, and keeps no
// other from being listed.
func checkForbidden(t *testing.T, target *SuiteTarget) {
	if target.API == nil {
		return // a directory asks nobody
	}
	w := newWriter(t, target)
	secret, open := target.Prefix+"team/secret", target.Prefix+"team/open"
	w.image(secret, "v1", "a")
	w.image(open, "v1", "b")
	target.answer(1<<30, secret, target.Refuse)
	if err := target.onlyError(t, t.Context(), secret); !errors.Is(err, target.Forbidden) {
		t.Errorf("a forbidden repository: %v", err)
	}
	if list := target.collect(t, all(open)); len(list) != 1 {
		t.Errorf("another repository: %v", list)
	}
	found := map[string]error{}
	for repository, err := range target.Inventory.Repositories(t.Context()) {
		found[repository] = err
	}
	if err, ok := found[open]; !ok || err != nil {
		t.Errorf("repositories: %v", found)
	}
}

// answer lets the first n requests that concern a repository get another
// answer.
func (target *SuiteTarget) answer(n int64, repository string, other http.HandlerFunc) {
	var left atomic.Int64
	left.Store(n)
	target.API.Intercept(func(api http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if target.Concerns(r, repository) && left.Add(-1) >= 0 {
				other(w, r)
				return
			}
			api.ServeHTTP(w, r)
		})
	})
}

// checkThrottled: a listing that is asked to wait waits, and one that fails is
// asked for again; nothing is lost.
func checkThrottled(t *testing.T, target *SuiteTarget) {
	if target.API == nil {
		return // a directory asks nobody
	}
	e := populate(t, target, target.Prefix+"team/app")
	var throttled, failed atomic.Bool
	target.answer(2, e.repository, func(w http.ResponseWriter, r *http.Request) {
		if throttled.CompareAndSwap(false, true) {
			target.Throttle(w, r)
			return
		}
		failed.Store(true)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	start := time.Now()
	list := target.collect(t, all(e.repository))
	same(t, names(list), e.wanted(target), "artifacts")
	if took := time.Since(start); took < time.Second || !throttled.Load() || !failed.Load() {
		t.Errorf("took %s; throttled: %t, failed: %t", took, throttled.Load(), failed.Load())
	}
}

// checkCancelled: a listing whose context ends says so.
func checkCancelled(t *testing.T, target *SuiteTarget) {
	e := populate(t, target, target.Prefix+"team/app")
	for _, q := range []Query{all(e.repository), {Repository: e.repository, Tags: always}} {
		target.cancelAtFirst(t, q)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := target.onlyError(t, ctx, e.repository); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it began: %v", err)
	}
}

func (target *SuiteTarget) cancelAtFirst(t *testing.T, q Query) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var end error
	for _, err := range target.Inventory.Artifacts(ctx, q) {
		if end != nil {
			t.Error("something came after the error that ends")
		}
		end = err
		cancel()
	}
	if !errors.Is(end, context.Canceled) {
		t.Errorf("ended with %v", end)
	}
}

// checkHanging: a listing ends with its context although the registry does not
// answer.
func checkHanging(t *testing.T, target *SuiteTarget) {
	if target.API == nil {
		return // a directory asks nobody
	}
	repository := target.Prefix + "team/app"
	newWriter(t, target).image(repository, "v1", "a")
	ctx, cancel := context.WithCancel(t.Context())
	asked := sync.OnceFunc(cancel)
	target.answer(1<<30, repository, func(_ http.ResponseWriter, r *http.Request) {
		asked()
		<-r.Context().Done()
	})
	if err := target.onlyError(t, ctx, repository); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// checkStopped: whoever has seen enough leaves nothing running.
func checkStopped(t *testing.T, target *SuiteTarget) {
	repository := target.Prefix + "team/app"
	want := rows(t, target, repository, 20)
	for n := 1; n <= len(want); n += 3 {
		target.take(t, repository, n)
	}
	for range target.Inventory.Repositories(t.Context()) {
		break
	}
	if got := names(target.collect(t, all(repository))); len(without(want, got)) > 0 {
		t.Errorf("a listing after others that stopped: missing %q", without(want, got))
	}
}
