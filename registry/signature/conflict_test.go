package signature

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestStaleLooks(t *testing.T) {
	st, s := newMemory(), image(1)
	c := &Cosign{Store: st}
	keys := make([]key, 8)
	looks := make([]Look, len(keys))
	for i := range keys {
		keys[i] = newKey(t)
		var err error
		if looks[i], err = c.Look(t.Context(), s, keys[i]); err != nil {
			t.Fatal(err)
		}
	}
	// All have seen that nothing is there; all attach at once.
	var wait sync.WaitGroup
	for i, k := range keys {
		wait.Go(func() {
			if _, err := c.Attach(t.Context(), s, looks[i], k.sign(t, Payload(s)), k); err != nil {
				t.Errorf("key %d: %v", i, err)
			}
		})
	}
	wait.Wait()
	mustBeSigned(t, st, s, keys...)
	if n := c.turns.Len(); n != 0 {
		t.Errorf("%d turns are still held", n)
	}
}

func TestOthersWriteBeforeUs(t *testing.T) {
	st, s := newMemory(), image(1)
	c := &Cosign{Store: st}
	first, second, ours := newKey(t), newKey(t), newKey(t)
	if err := signLikeCosign(st, s, Payload(s), first.sign(t, Payload(s))); err != nil {
		t.Fatal(err)
	}
	look, err := c.Look(t.Context(), s, ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := signLikeCosign(st, s, Payload(s), second.sign(t, Payload(s))); err != nil {
		t.Fatal(err)
	}
	done, err := c.Attach(t.Context(), s, look, ours.sign(t, Payload(s)), ours)
	if err != nil || done.Rounds != 1 {
		t.Errorf("Attach = %+v, %v", done, err)
	}
	mustBeSigned(t, st, s, first, second, ours)
}

func TestSomebodyElseSignedWithOurKey(t *testing.T) {
	st, s, k := newMemory(), image(1), newKey(t)
	c := &Cosign{Store: st}
	if err := signLikeCosign(st, s, Payload(s), newKey(t).sign(t, Payload(s))); err != nil {
		t.Fatal(err)
	}
	look, err := c.Look(t.Context(), s, k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sign(t, &Cosign{Store: st}, s, k); err != nil { // another replica
		t.Fatal(err)
	}
	st.cost()
	done, err := c.Attach(t.Context(), s, look, k.sign(t, Payload(s)), k)
	if err != nil || done.Rounds != 0 || done.Manifest.Hex == "" {
		t.Errorf("Attach = %+v, %v", done, err)
	}
	if diff := cmp.Diff(map[string]int{"HEAD manifest": 1, "GET manifest": 1}, st.cost()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestOthersWriteAfterUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := newMemory(), image(1)
		first, second, ours := newKey(t), newKey(t), newKey(t)
		if err := signLikeCosign(st, s, Payload(s), first.sign(t, Payload(s))); err != nil {
			t.Fatal(err)
		}
		base, err := st.find(s.Repository, CosignTag(s.Digest))
		if err != nil {
			t.Fatal(err)
		}
		st.afterPut = func() { // they had read what was there before us
			st.afterPut = nil
			st.tag(s.Repository, CosignTag(s.Digest), base.MediaType, base.Raw)
			if err := signLikeCosign(st, s, Payload(s), second.sign(t, Payload(s))); err != nil {
				t.Error(err)
			}
		}
		done, err := sign(t, &Cosign{Store: st}, s, ours)
		if err != nil || done.Rounds != 2 {
			t.Errorf("Attach = %+v, %v", done, err)
		}
		mustBeSigned(t, st, s, first, second, ours)
	})
}

func TestOthersLoseTheBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := newMemory(), image(1)
		first, second, ours := newKey(t), newKey(t), newKey(t)
		if err := signLikeCosign(st, s, Payload(s), first.sign(t, Payload(s))); err != nil {
			t.Fatal(err)
		}
		st.afterPut = func() { // they had read nothing
			st.afterPut = nil
			delete(st.tags, s.Repository+":"+CosignTag(s.Digest))
			if err := signLikeCosign(st, s, Payload(s), second.sign(t, Payload(s))); err != nil {
				t.Error(err)
			}
		}
		if _, err := sign(t, &Cosign{Store: st}, s, ours); err != nil {
			t.Fatal(err)
		}
		mustBeSigned(t, st, s, first, second, ours)
		if err := signLikeCosign(st, s, Payload(s), newKey(t).sign(t, Payload(s))); err != nil {
			t.Errorf("cosign's append to what we merged fails: %v", err)
		}
	})
}

func TestAnotherReplicaLosesTheBase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s := newMemory(), image(1)
		first, ours := newKey(t), newKey(t)
		if err := signLikeCosign(st, s, Payload(s), first.sign(t, Payload(s))); err != nil {
			t.Fatal(err)
		}
		st.afterPut = func() { // it had seen nothing; it has our key
			st.afterPut = nil
			delete(st.tags, s.Repository+":"+CosignTag(s.Digest))
			if _, err := sign(t, &Cosign{Store: st}, s, ours); err != nil {
				t.Error(err)
			}
		}
		if _, err := sign(t, &Cosign{Store: st}, s, ours); err != nil {
			t.Fatal(err)
		}
		mustBeSigned(t, st, s, first, ours)
	})
}

func TestOthersDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s, ours := newMemory(), image(1), newKey(t)
		st.afterPut = func() {
			st.afterPut = nil
			delete(st.tags, s.Repository+":"+CosignTag(s.Digest))
		}
		done, err := sign(t, &Cosign{Store: st}, s, ours)
		if err != nil || done.Rounds != 2 {
			t.Errorf("Attach = %+v, %v", done, err)
		}
		mustBeSigned(t, st, s, ours)
	})
}

func TestOthersNeverStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s, ours := newMemory(), image(1), newKey(t)
		st.foreignBlob(s.Repository, []byte("{}"))
		theirs := manifestOf(put(st, Payload(s), []byte("theirs")))
		st.afterPut = func() { st.tag(s.Repository, CosignTag(s.Digest), ociManifest, theirs) }
		_, err := sign(t, &Cosign{Store: st}, s, ours)
		if !errors.Is(err, ErrConflict) {
			t.Errorf("Attach = %v, want %v", err, ErrConflict)
		}
		if got := st.cost()["PUT manifest"]; got != maxRounds {
			t.Errorf("%d rounds, want %d", got, maxRounds)
		}
	})
}

func TestAttachStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, s, ours := newMemory(), image(1), newKey(t)
		ctx, cancel := context.WithCancel(t.Context())
		st.afterPut = func() {
			delete(st.tags, s.Repository+":"+CosignTag(s.Digest))
			go func() { // once the round's wait has begun
				synctest.Wait()
				cancel()
			}()
		}
		_, err := (&Cosign{Store: st}).Attach(ctx, s, Look{}, ours.sign(t, Payload(s)), ours)
		if !errors.Is(err, context.Canceled) || st.cost()["PUT manifest"] != 1 {
			t.Errorf("Attach = %v, want %v", err, context.Canceled)
		}
	})
}

func TestRecentForgetsTheOldest(t *testing.T) {
	var r recent
	for i := range 3 * generation {
		r.add(fmt.Sprint(i))
	}
	if r.has("0") || !r.has(fmt.Sprint(2*generation)) || !r.has(fmt.Sprint(3*generation-1)) {
		t.Error("the last generation must be known, the first forgotten")
	}
	if n := len(r.now) + len(r.old); n > 2*generation {
		t.Errorf("%d keys are remembered", n)
	}
}
