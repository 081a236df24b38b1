package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func harborConfig(h *registrytest.Harbor) Config {
	cfg := config(h.Host)
	cfg.Kind, cfg.Keychain, cfg.PageSize = KindHarbor, Static(registrytest.HarborUser, registrytest.HarborPassword), 3
	return cfg
}

func TestSuiteHarbor(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		h := registrytest.NewHarbor(t)
		cfg := harborConfig(h)
		target := suiteTarget(open(t, cfg), h.Server)
		target.Untagged, target.HidesReferrers, target.PageSize = true, true, cfg.PageSize
		cfg.PageSize = 0
		target.Usual, target.UsualPage = suiteInventory{open(t, cfg)}, harborPage
		target.Fill, target.Concerns, target.Refuse = h.Fill, registrytest.HarborConcerns, registrytest.HarborForbids
		return target
	})
}

// What is recorded is an answer as Harbor's swagger.yaml and handlers make it.
// Fields that are null, and others that nobody reads, must not be in the way.
func TestHarborRequests(t *testing.T) {
	var asked []string
	answers := map[string]string{
		"/api/v2.0/projects/team/repositories/deep%252Fapp/artifacts": `[{"id":11,"type":"IMAGE","digest":"sha256:` + strings.Repeat("a", 64) + `",
			"manifest_media_type":"` + ociIndex + `","media_type":"` + ociIndex + `","size":12345,"tags":[{"id":1,"name":"v1"}],"labels":null,
			"references":[{"parent_id":11,"child_id":3,"child_digest":"sha256:` + strings.Repeat("b", 64) + `","platform":{"architecture":"amd64","os":"linux"}}]},
			{"id":12,"digest":"sha256:` + strings.Repeat("c", 64) + `","manifest_media_type":"` + ociManifest + `","media_type":"` + ociConfig + `","tags":null,"references":null},
			{"id":13,"digest":"sha256:` + strings.Repeat("d", 64) + `","manifest_media_type":"` + ociManifest + `","media_type":"x","artifact_type":"application/y"},
			{"id":14,"digest":"sha256:broken","tags":[{"name":"v2"}]},
			{"id":15,"digest":"sha256:` + strings.Repeat("e", 64) + `","manifest_media_type":"application/vnd.docker.distribution.manifest.v1+prettyjws"}]`,
	}
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI()+" "+r.Header.Get("Authorization"))
		w.Header().Set("X-Total-Count", "5")
		jsonBody(answers[r.URL.EscapedPath()])(w, r)
	}))
	cfg := config(host)
	cfg.Kind, cfg.Keychain, cfg.API = KindHarbor, Static("robot$x", "y"), "http://"+host+"/api/v2.0/"
	lister := openLister(t, cfg)
	type entry struct {
		MediaType, ArtifactType, Cursor string
		Tags                            []string
		Children                        []v1.Hash
		Broken                          bool
	}
	var got []entry
	for m, err := range lister.manifests(t.Context(), "team/deep/app", "10") {
		got = append(got, entry{m.MediaType, m.ArtifactType, m.Cursor, m.Tags, m.Children, err != nil})
		want(t, m.Size, 0, "size, which is the image's")
	}
	want(t, got, []entry{
		{MediaType: ociIndex, ArtifactType: ociIndex, Cursor: "11", Tags: []string{"v1"}, Children: []v1.Hash{{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}}},
		{MediaType: ociManifest, Cursor: "12"},
		{MediaType: ociManifest, ArtifactType: "application/y", Cursor: "13"},
		{Cursor: "14", Tags: []string{"v2"}, Broken: true},
		{Cursor: "15"},
	}, "manifests")
	want(t, asked, []string{
		"/api/v2.0/projects/team/repositories/deep%252Fapp/artifacts?page=1&page_size=100&q=id%3D%5B11~%5D&sort=id" +
			"&with_accessory=false&with_label=false&with_scan_overview=false&with_tag=true Basic cm9ib3QkeDp5",
	}, "requests")
}

// openLister returns the lister of a registry of a kind that has one.
func openLister(t *testing.T, cfg Config) manifestLister {
	t.Helper()
	l, ok := open(t, cfg).(*listed)
	if !ok {
		t.Fatalf("kind %s is not listed", cfg.Kind)
	}
	return l.lister
}

func TestHarborBadAnswers(t *testing.T) {
	row := func(id string) string { return `{"id":` + id + `,"digest":"sha256:` + strings.Repeat("a", 64) + `"}` }
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"no list":                 {jsonBody(`{}`), ErrCorrupt},
		"no JSON":                 {jsonBody(`<html>`), ErrCorrupt},
		"not in order":            {jsonBody(`[` + row("2") + `,` + row("1") + `]`), ErrCorrupt},
		"the same page again":     {jsonBody(`[` + row("1") + `]`), ErrCorrupt},
		"no numbers":              {jsonBody(`[{"digest":"sha256:` + strings.Repeat("a", 64) + `"}]`), ErrCorrupt},
		"forbidden":               {registrytest.HarborForbids, ErrForbidden},
		"a redirect to a log-in":  {status(http.StatusFound, "Location", "https://sso.example.com/"), ErrRejected},
		"no permission, no login": {status(http.StatusUnauthorized), ErrUnauthorized},
		"nothing, and not there":  {missingRepository, ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(serve(t, test.answer))
			cfg.Kind = KindHarbor
			var last error
			for _, err := range openLister(t, cfg).manifests(t.Context(), "team/app", "") {
				last = err
			}
			wants(t, last, test.want, "error")
			if name == "nothing, and not there" {
				return
			}
			for _, err := range openLister(t, cfg).repositories(t.Context()) {
				last = err
			}
			wants(t, last, test.want, "error of repositories")
		})
	}
	for _, api := range []string{"http://user:secret@harbor.example.com", "ftp://harbor.example.com", "harbor.example.com"} {
		cfg := Config{Name: "x", Host: "harbor.example.com", Kind: KindHarbor, API: api}
		if _, err := Open(cfg); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("api %q: %v", api, err)
		}
	}
	cfg := config("harbor.example.com")
	cfg.Kind = KindHarbor
	for _, repository := range []string{"app", "../x/y", "Bad/x"} {
		for _, err := range openLister(t, cfg).manifests(t.Context(), repository, "") {
			if err == nil {
				t.Errorf("%s was listed", repository)
			}
		}
	}
}

// missingRepository answers as Harbor does: the artifacts of what is not there
// are an empty list.
func missingRepository(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/artifacts") {
		jsonBody(`[]`)(w, r)
		return
	}
	status(http.StatusNotFound)(w, r)
}

// A repository of Harbor whose artifacts have all gone is there all the same.
func TestHarborEmptyRepository(t *testing.T) {
	h := registrytest.NewHarbor(t)
	r := open(t, harborConfig(h))
	m := pushImage(t, r, "team/app", "v1", "a")
	if err := r.(Deleter).Delete(t.Context(), "team/app", m.Digest); err != nil {
		t.Fatal(err)
	}
	want(t, len(artifacts(t, r, Query{Repository: "team/app", Tags: always, Untagged: true})), 0, "artifacts")
}

// FuzzHarborAnswer: whatever a server answers, the listing ends.
func FuzzHarborAnswer(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `{}`, `[{"id":1}]`, `[{"id":9223372036854775807,"digest":"sha256:x","tags":[{"name":"../.."}]}]`,
		`[{"id":1,"digest":"sha256:` + strings.Repeat("a", 64) + `","references":[{"child_digest":"x"}]}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		cfg := config("harbor.example.com")
		cfg.Kind = KindHarbor
		cfg.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			_, _ = w.Write(answer)
			resp := w.Result()
			resp.Request = req
			return resp, nil
		})
		lister := openLister(t, cfg)
		n := 0
		for m, err := range lister.manifests(t.Context(), "team/app", "") {
			if n++; err == nil && m.Digest == (v1.Hash{}) || n > 1<<20 {
				t.Fatalf("manifest %d: %+v", n, m)
			}
		}
	})
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
