package registry

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func TestAllTags(t *testing.T) {
	signature := "sha256-" + strings.Repeat("a", 64) + ".sig"
	for name, s := range map[string]Store{
		"distribution": client(t, config(registrytest.Distribution(t).Host)),
		"layout":       layoutStore(t),
	} {
		t.Run(name, func(t *testing.T) {
			lister, ok := s.(TagLister)
			if !ok {
				t.Fatal("it lists no tags")
			}
			for _, tag := range []string{"v1", signature, "v2"} {
				pushImage(t, s, "app", tag, tag)
			}
			pushImage(t, s, "app", "", "untagged")
			var got []string
			for tag, err := range lister.AllTags(t.Context(), "app") {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, tag)
			}
			slices.Sort(got)
			want(t, got, []string{signature, "v1", "v2"}, "tags")
			for range lister.AllTags(t.Context(), "app") {
				break // no more is wanted
			}
			n := 0
			for tag, err := range lister.AllTags(t.Context(), "no/such") {
				n++
				if tag != "" || !errors.Is(err, ErrNotFound) {
					t.Errorf("in a repository that is not there: %q, %v", tag, err)
				}
			}
			want(t, n, 1, "errors")
		})
	}
}
