//go:build interop

package main_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refusals are how registries answer when a tag may not change.
var refusals = map[string]refusal{
	"Harbor": {http.StatusPreconditionFailed, "PRECONDITION", "Failed to process request due to '%s' configured as immutable."},
	"ECR":    {http.StatusBadRequest, "TAG_INVALID", "The image tag '%s' already exists in the repository and cannot be overwritten because the repository is immutable."},
}

// oldFormat lets cosign 3 look at sha256-<hex>.sig although there are bundles.
const oldFormat = "--new-bundle-format=false"

// TestInteropImmutableTags signs where somebody else signed first and the
// registry does not let the tag of his signature change.
func TestInteropImmutableTags(t *testing.T) {
	for name, r := range refusals {
		t.Run(name, func(t *testing.T) {
			inner, _ := startRegistry(t, mkdir(t, t.TempDir(), "storage"))
			newExchange(t, front(t, inner.Host, func(next http.Handler) http.Handler { return &immutable{next, r} })).judgeImmutable(t)
		})
	}
}

func (x *exchange) judgeImmutable(t *testing.T) {
	x.configure(t, []exchangePolicy{
		{"alone", "p256", "cosign", ""},
		{"both", "p256", "cosign, bundle", ""},
		{"moved", "p256", "cosign", `, signature_repository: "signatures/{repository}"`},
	})
	for _, name := range []string{"alone", "both", "moved"} {
		x.push(t, name+"/app")
		x.sign(t, x.legacy, "stranger", name+"/app")
	}
	x.push(t, "alone/first")
	o := x.ours.run(t, "run", "--once", "--output", "json", "--config", filepath.Join(x.dir, "sealwright.yaml"))
	o.refused(t, "immutable_tag")
	var firings []firing
	if err := json.Unmarshal([]byte(o.stdout), &firings); err != nil {
		t.Fatalf("%v in\n%s", err, o)
	}
	did := map[string]map[string]int{}
	for _, f := range firings {
		did[f.Policy] = f.Counts.Reasons
	}
	want := map[string]map[string]int{"alone": {"signed": 1, "immutable_tag": 1}, "both": {"signed": 1}, "moved": {"signed": 1}}
	if diff := cmp.Diff(want, did); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	t.Run("the first signature of an image", func(t *testing.T) {
		x.verify(t, x.legacy, "p256", "alone/first").accepted(t)
	})
	t.Run("nowhere to go", func(t *testing.T) {
		x.verify(t, x.legacy, "p256", "alone/app").refused(t, "no matching signatures")
		x.verifyOurs(t, "p256", "alone/app").refused(t, "no signature that the key verifies")
	})
	t.Run("another format", func(t *testing.T) {
		x.verify(t, x.cosign, "p256", "both/app").accepted(t)
		x.verify(t, x.cosign, "p256", "both/app", oldFormat).refused(t, "no matching signatures")
		x.verifyOurs(t, "p256", "both/app").accepted(t)
		// Where there is a bundle, cosign looks for nothing else.
		x.verify(t, x.cosign, "stranger", "both/app").refused(t, "no matching attestations")
		x.verify(t, x.legacy, "stranger", "both/app", x.trustNobody(t)...).refused(t, "no matching attestations")
	})
	t.Run("another repository", func(t *testing.T) {
		x.verify(t, x.legacy, "p256", "moved/app").refused(t, "no matching signatures")
		x.cosigns(t, func(t *testing.T, cosign program) {
			cosign.env = append(append([]string{}, cosign.env...), "COSIGN_REPOSITORY="+x.reg.Host+"/signatures/moved/app")
			x.verify(t, cosign, "p256", "moved/app").accepted(t)
			x.verify(t, cosign, "stranger", "moved/app").refused(t, "no matching signatures")
		})
		x.verifyOurs(t, "p256", "moved/app", "--signature-repository", "signatures/moved/app").accepted(t)
		x.verifyOurs(t, "p256", "moved/app").refused(t, "no signature that the key verifies")
	})
	t.Run("theirs are as they were", func(t *testing.T) {
		for _, name := range []string{"alone", "both", "moved"} {
			x.verify(t, x.cosign, "stranger", name+"/app", oldFormat).accepted(t)
		}
	})
}
