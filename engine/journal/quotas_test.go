package journal_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/journal/journaltest"
	"github.com/sealwright/sealwright/engine/policy"
)

// replicas opens a journal as often as its database allows.
func replicas(t *testing.T, postgres bool) []*journal.Journal {
	t.Helper()
	if !postgres {
		return []*journal.Journal{openTest(t, journal.Options{State: journaltest.SQLiteJournal(t)})}
	}
	state := journaltest.PostgresJournal(t)
	var all []*journal.Journal
	for range 4 {
		all = append(all, openTest(t, journal.Options{State: state}))
	}
	return all
}

func storedIn(registry, label string, origin journal.Origin) journal.StoredPolicy {
	return journal.StoredPolicy{Origin: origin, Label: label, Policy: policy.Policy{Registry: registry, Namespace: label, Key: "release"}}
}

// TestQuotasAtOnce: of many who store something at the same time, through any replica,
// as many do as the quota allows.
func TestQuotasAtOnce(t *testing.T) {
	t.Parallel()
	const callers, quota = 48, 5
	bounds := journal.PolicyBounds{Quota: quota}
	kinds := map[string]func(j *journal.Journal, name string) error{
		"created": func(j *journal.Journal, name string) error {
			_, err := j.CreatePolicy(t.Context(), storedIn("created", name, journal.FromSWR), bounds)
			return err
		},
		"put": func(j *journal.Journal, name string) error {
			_, err := j.PutPolicy(t.Context(), storedIn("put", name, journal.FromTCR), bounds)
			return err
		},
		"moved": func(j *journal.Journal, name string) error {
			p, err := j.CreatePolicy(t.Context(), storedIn("elsewhere", name, journal.FromAPI), journal.PolicyBounds{Quota: callers})
			if err != nil {
				return err
			}
			_, err = j.UpdatePolicy(t.Context(), p.ID, bounds, func(p *journal.StoredPolicy) error { p.Policy.Registry = "moved"; return nil })
			return err
		},
		"signature keys": func(j *journal.Journal, name string) error {
			_, err := j.CreateSignatureKey(t.Context(), journal.SignatureKey{ID: name, Registry: "prod", Name: name}, quota)
			return err
		},
		"image signatures": func(j *journal.Journal, name string) error {
			token := journal.RetryToken{Caller: "ci", Token: name, Call: "x"}
			_, err := j.CreateImageSignature(t.Context(), journaltest.ImageSignature(name, "app"), token, quota)
			return err
		},
	}
	for _, postgres := range []bool{false, true} {
		all := replicas(t, postgres)
		for what, store := range kinds {
			t.Run(fmt.Sprint(what, " postgres=", postgres), func(t *testing.T) {
				t.Parallel()
				var stored, refused atomic.Int64
				var wg sync.WaitGroup
				for n := range callers {
					wg.Go(func() {
						switch err := store(all[n%len(all)], fmt.Sprint(what, n)); {
						case err == nil:
							stored.Add(1)
						case errors.Is(err, journal.ErrQuota):
							refused.Add(1)
						default:
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if stored.Load() != quota || refused.Load() != callers-quota {
					t.Errorf("%d stored and %d refused, with a quota of %d", stored.Load(), refused.Load(), quota)
				}
			})
		}
	}
}

// TestQuotaRefusals: what was refused leaves no retry token behind, a registry's quota
// is its own, and what is changed in place needs no room.
func TestQuotaRefusals(t *testing.T) {
	t.Parallel()
	j := replicas(t, false)[0]
	bounds := journal.PolicyBounds{Quota: 1}
	first, err := j.PutPolicy(t.Context(), storedIn("prod", "a", journal.FromTCR), bounds)
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"put again":        second(j.PutPolicy(t.Context(), storedIn("prod", "a", journal.FromTCR), bounds)),
		"update":           second(j.UpdatePolicy(t.Context(), first.ID, bounds, func(p *journal.StoredPolicy) error { p.Policy.Key = "other"; return nil })),
		"another registry": second(j.CreatePolicy(t.Context(), storedIn("other", "a", journal.FromAPI), bounds)),
		"names of files":   second(j.FilePolicyIDs(t.Context(), []string{"x", "y"})),
		"image signature":  second(j.CreateImageSignature(t.Context(), journaltest.ImageSignature("s1", "app"), journal.RetryToken{}, 1)),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	token := journal.RetryToken{Caller: "ci", Token: "t", Call: "x"}
	if _, err := j.CreateImageSignature(t.Context(), journaltest.ImageSignature("s2", "app"), token, 1); !errors.Is(err, journal.ErrQuota) {
		t.Errorf("one too many: %v", err)
	}
	if s, err := j.CreateImageSignature(t.Context(), journaltest.ImageSignature("s3", "app"), token, 2); err != nil || s.ID != "s3" {
		t.Errorf("the same token when there is room: %v, %v", s, err)
	}
}

func second[T any](_ T, err error) error { return err }
