package registrytest

import (
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
)

// TestContents: what was pushed, moved and deleted is what is listed, whatever
// the registry behind it.
func TestContents(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *Server{"memory": Memory, "distribution": Distribution} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := Watch(t, s)
			a, b := Image(t), Image(t)
			s.Push(t, "team/app:v1", a)
			s.Push(t, "team/app:v2", a)
			s.Push(t, "team/app:v1", b)
			subject, err := partial.Descriptor(b)
			if err != nil {
				t.Fatal(err)
			}
			referrer := mutate.Subject(Image(t), *subject)
			s.Push(t, "team/app:", referrer)
			index := Index(t, a)
			s.Push(t, "other:multi", index)

			if diff := cmp.Diff([]string{"other", "team/app"}, c.Repositories()); diff != "" {
				t.Error(diff)
			}
			if c.Manifests("none") != nil || c.Has("none") || c.Tags("none") != nil {
				t.Error("a repository that is not there has something")
			}
			list := c.Manifests("team/app")
			if got := []v1.Hash{list[0].Digest, list[1].Digest, list[2].Digest}; !slices.Equal(got, []v1.Hash{Digest(t, a), Digest(t, b), Digest(t, referrer)}) {
				t.Errorf("order %v", got)
			}
			if list[2].Subject != Digest(t, b) || len(list[2].Tags) != 0 || list[2].ConfigType == "" || list[2].Pushed.IsZero() {
				t.Errorf("referrer %+v", list[2])
			}
			if diff := cmp.Diff([][]string{{"v2"}, {"v1"}}, [][]string{list[0].Tags, list[1].Tags}); diff != "" {
				t.Error(diff)
			}
			multi := c.Manifests("other")
			if last := multi[len(multi)-1]; !last.IsIndex() || !slices.Equal(last.Children, []v1.Hash{Digest(t, a)}) || last.Size == 0 {
				t.Errorf("index %+v", last)
			}

			remove(t, s, "team/app", Digest(t, b).String())
			if tags := c.Tags("team/app"); tags["v1"] != "" || tags["v2"] != Digest(t, a).String() {
				t.Errorf("tags after a deletion: %v", tags)
			}
			if c.Manifests("team/app")[1].Digest == Digest(t, b) {
				t.Error("a deleted manifest is still there")
			}
			if got := status(t, s, "team/app", "v1"); got != http.StatusNotFound {
				t.Errorf("the tag of a deleted manifest: %d", got)
			}
			if got := status(t, s, "team/app", "v2"); got != http.StatusOK {
				t.Errorf("another tag: %d", got)
			}
		})
	}
}

func remove(t *testing.T, s *Server, repository, ref string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodDelete, "http://"+s.Host+"/v2/"+repository+"/manifests/"+ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("deleting %s: %s", ref, resp.Status)
	}
}

func status(t *testing.T, s *Server, repository, ref string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodHead, "http://"+s.Host+"/v2/"+repository+"/manifests/"+ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", mediaManifest)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
