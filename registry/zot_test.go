package registry

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func zotConfig(z *registrytest.Zot) Config {
	cfg := config(z.Host)
	cfg.Kind, cfg.PageSize, cfg.Storage = KindZot, 3, z.Root
	return cfg
}

func TestSuiteZot(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		z := registrytest.NewZot(t)
		cfg := zotConfig(z)
		target := suiteTarget(open(t, cfg), z.Server)
		target.Untagged, target.Forgets, target.PageSize = true, true, cfg.PageSize
		cfg.PageSize = 1000
		target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, cfg.PageSize/2 // one of tags, one of what they name
		target.Fill = z.Fill
		return target
	})
}

func TestSuiteZotMinimal(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		z := registrytest.NewZot(t)
		z.Search = false
		cfg := zotConfig(z)
		cfg.Storage = ""
		target := suiteTarget(open(t, cfg), z.Server)
		target.PageSize, target.PerArtifact = cfg.PageSize, 1
		target.Fill = z.Fill
		return target
	})
}

// What the search does not know costs a HEAD; the search's pages are read once,
// and a listing that goes on finds the right one.
func TestZotHints(t *testing.T) {
	z := registrytest.NewZot(t)
	cfg := zotConfig(z)
	cfg.PageSize, cfg.Storage = 10, ""
	r := open(t, cfg)
	for i := range 100 {
		pushImage(t, r, "team/app", fmt.Sprintf("t%02d", i), fmt.Sprint(i%7))
	}
	q := Query{Repository: "team/app", Tags: always}
	sent := counts(r)
	all := artifacts(t, r, q)
	want(t, len(all), 100, "artifacts")
	want(t, sent(), map[string]int64{"GET 200": 20}, "requests: pages of tags, and of what they name")
	for _, at := range []int{0, 9, 10, 55, 88, 98} {
		q.After = all[at].Cursor
		rest := artifacts(t, r, q)
		want(t, rest, all[at+1:], "the rest after "+q.After)
		if n := sent()["GET 200"]; n > int64(2*(100-at)/10+6) {
			t.Errorf("after %s: %d requests", q.After, n)
		}
	}
	q.After = ""
	z.Knows = func(tag string) bool { return tag != "t50" && !strings.HasPrefix(tag, "t9") }
	sent()
	got := artifacts(t, r, q)
	for i := range got {
		got[i].Size = 0
	}
	want(t, got, all, "artifacts, though the search does not know some")
	want(t, sent(), map[string]int64{"GET 200": 19, "HEAD 200": 11}, "requests")
}

// The search says that docker's images and lists are OCI's: what they are costs a
// HEAD, and only that of those.
func TestZotDocker(t *testing.T) {
	z := registrytest.NewZot(t)
	cfg := zotConfig(z)
	cfg.PageSize = 10
	r := open(t, cfg)
	put := func(tag, mediaType string, fields map[string]any) entry {
		fields["schemaVersion"], fields["mediaType"] = 2, mediaType
		raw := encode(t, fields)
		if _, err := r.PutManifest(t.Context(), "app", tag, mediaType, raw); err != nil {
			t.Fatal(err)
		}
		return describe(mediaType, raw)
	}
	image := func(tag, mediaType, config string) entry {
		return put(tag, mediaType, map[string]any{"config": describe(config, []byte(tag)), "layers": []any{}})
	}
	docker := image("docker", "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json")
	list := put("docker-list", "application/vnd.docker.distribution.manifest.list.v2+json", map[string]any{"manifests": []any{docker}})
	oci := image("oci", ociManifest, ociConfig)
	index := put("oci-index", ociIndex, map[string]any{"manifests": []any{oci}})
	sent := counts(r)
	var got []entry
	for _, a := range artifacts(t, r, Query{Repository: "app", Tags: always}) {
		got = append(got, entry{MediaType: a.MediaType, Digest: a.Digest.String(), Size: a.Size})
	}
	oci.Size, index.Size = 0, 0 // nobody asked
	want(t, got, []entry{docker, list, oci, index}, "artifacts")
	want(t, sent(), map[string]int64{"GET 200": 2, "HEAD 200": 2}, "requests")
}

// A search that is of no use costs nothing but HEADs.
func TestZotBadSearch(t *testing.T) {
	image := func(tag, repository string) string {
		return `{"RepoName":"` + repository + `","Tag":"` + tag + `","Digest":"` + sum(nil).String() + `","MediaType":"` + ociManifest + `"}`
	}
	page := func(total int, images ...string) http.HandlerFunc {
		return jsonBody(fmt.Sprintf(`{"data":{"ImageList":{"Page":{"TotalCount":%d},"Results":[%s]}}}`, total, strings.Join(images, ",")))
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		asked  int64 // in two listings
	}{
		"not there":            {status(http.StatusNotFound), 1},
		"forbidden":            {status(http.StatusForbidden), 2},
		"no JSON":              {jsonBody(`<html>`), 2},
		"an error":             {jsonBody(`{"errors":[{"message":"bad"}],"data":null}`), 2},
		"null":                 {jsonBody(`{"data":{"ImageList":null}}`), 2},
		"another repository":   {page(2, image("a", "other"), image("b", "other")), 2},
		"not sorted":           {page(2, image("b", "app"), image("a", "app")), 2},
		"more than asked for":  {page(4, image("a", "app"), image("b", "app"), image("c", "app"), image("d", "app")), 2},
		"a total that is less": {page(0, image("a", "app")), 2},
		"other tags":           {page(1<<40, image("x", "app"), image("y", "app")), 2},
		"bad digests":          {page(2, strings.ReplaceAll(image("a", "app")+","+image("b", "app"), "sha256:", "sha256:.")), 2},
	} {
		t.Run(name, func(t *testing.T) {
			var searched int64
			inner := inMemory()
			cfg := config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == zotSearchPath {
					searched++
					test.answer(w, r)
					return
				}
				inner.ServeHTTP(w, r)
			})))
			cfg.Kind, cfg.PageSize = KindZot, 3
			r := open(t, cfg)
			a, b := pushImage(t, r, "app", "a", "a"), pushImage(t, r, "app", "b", "b")
			for range 2 {
				list := artifacts(t, r, Query{Repository: "app", Tags: always})
				want(t, []Descriptor{list[0].Descriptor, list[1].Descriptor}, []Descriptor{a.Descriptor, b.Descriptor}, "artifacts")
			}
			want(t, searched, test.asked, "times that the search was asked")
			z := r.(*zot)
			z.search.now = func() time.Time { return time.Now().Add(2 * zotAbsence) }
			artifacts(t, r, Query{Repository: "app", Tags: always})
			want(t, searched, test.asked+1, "times that the search was asked, later on")
		})
	}
}

// A tag that is deleted as a page ends is no reason to stop; a repository that is
// deleted is.
func TestZotTagsGoOn(t *testing.T) {
	z := registrytest.NewZot(t)
	cfg := zotConfig(z)
	cfg.Storage = ""
	r := open(t, cfg)
	digests := map[string]Manifest{}
	for _, tag := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		digests[tag] = pushImage(t, r, "app", tag, tag)
	}
	var tags []string
	for tag, err := range r.(TagLister).AllTags(t.Context(), "app") {
		wants(t, err, nil, tag)
		tags = append(tags, tag)
		if err := r.(Deleter).Delete(t.Context(), "app", digests[tag].Digest); err != nil {
			t.Fatal(err)
		}
	}
	want(t, tags, []string{"a", "b", "c", "d", "e", "f", "g"}, "tags")

	gone := status(http.StatusNotFound)
	first := true
	cfg.Host = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		if first {
			first = false
			w.Header().Set("Link", `</v2/app/tags/list?n=3&last=c>; rel="next"`)
			jsonBody(`{"tags":["a","b","c"]}`)(w, r)
			return
		}
		gone(w, r)
	}))
	var last error
	tags = nil
	for tag, err := range open(t, cfg).(TagLister).AllTags(t.Context(), "app") {
		tags, last = append(tags, tag), err
	}
	wants(t, last, ErrNotFound, "a repository that is deleted meanwhile")
	want(t, tags, []string{"a", "b", "c", ""}, "tags before")
}

func TestZotStorage(t *testing.T) {
	z := registrytest.NewZot(t)
	cfg := zotConfig(z)
	r := open(t, cfg)
	want(t, r.Untagged(), "", "untagged artifacts can be seen")
	lost := pushImage(t, r, "team/app", "", "lost")
	index := filepath.Join(z.Root, "team/app/index.json")
	whole, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	q := Query{Repository: "team/app", Tags: always, Untagged: true}
	want(t, len(artifacts(t, r, q)), 1, "artifacts")

	if err := os.WriteFile(index, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range r.Artifacts(t.Context(), q) {
		last = err
	}
	wants(t, last, ErrCorrupt, "an index that stays broken")
	storage := r.(*zot).storage
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(index, whole, 0o600) }()
	found, err := storage.list(t.Context(), "team/app", q)
	if err != nil || <-written != nil {
		t.Fatal(err)
	}
	found.all.sort()
	want(t, hashOf(found.all.items[0]), lost.Digest, "what an index has that was being written")

	if err := os.RemoveAll(filepath.Join(z.Root, "team")); err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Artifacts(t.Context(), q) {
		last = err
	}
	wants(t, last, ErrNotFound, "a repository that the storage does not have")

	layout := t.TempDir()
	newLayout(t, layout)
	file := filepath.Join(layout, "oci-layout")
	for dir, text := range map[string]string{layout: "rootDirectory", file: "no directory", filepath.Join(layout, "missing"): "no such file"} {
		cfg.Storage = dir
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("storage %s: %v", dir, err)
		}
	}
}

// FuzzZotPage: a page is refused, or what is in it is what was asked for.
func FuzzZotPage(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"data":null}`, `{"data":{"ImageList":{"Page":{"TotalCount":1},"Results":[{"RepoName":"app","Tag":"a"}]}}}`,
		`{"errors":[{"message":"x"}]}`, `{"data":{"ImageList":{"Page":{"TotalCount":-1}}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, total, err := decodeZotPage(raw, "app", 3)
		if err != nil {
			return
		}
		if len(list) > 3 || total < len(list) {
			t.Errorf("%d of %d", len(list), total)
		}
		for i, image := range list {
			if image.Repository != "app" || i > 0 && image.Tag < list[i-1].Tag {
				t.Errorf("%+v", list)
			}
		}
	})
}
