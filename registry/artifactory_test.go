package registry

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const exampleToken = "an-access-token"

func TestSuiteArtifactory(t *testing.T) {
	for name, api := range map[string]registrytest.ArtifactoryAPI{
		"items": {Twice: true}, "rows": {CountsRows: true},
	} {
		t.Run(name, func(t *testing.T) {
			api.Key, api.Authorization = "docker-local", "Bearer "+exampleToken
			registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget { return artifactoryTarget(t, api) })
		})
	}
}

// artifactoryTarget is a registry with a port of its own.
func artifactoryTarget(t *testing.T, api registrytest.ArtifactoryAPI) *registrytest.SuiteTarget {
	t.Helper()
	s := registrytest.Memory(t)
	cfg := config(s.Host)
	own := registrytest.Artifactory(t, registrytest.Watch(t, s), api)
	cfg.Kind, cfg.API, cfg.PageSize = KindArtifactory, "http://"+own.Host+"/artifactory", 20
	cfg.Cloud = Cloud{Project: api.Key, Secret: secretOf(exampleToken)}
	const properties = 6 // of an item
	r := open(t, cfg)
	target := suiteTarget(r, s)
	target.API, target.Untagged, target.Refuse = own, true, registrytest.ArtifactoryRefuse
	target.PageSize = cfg.PageSize / properties
	target.Fill = fillTags(s, "team/many", func() {
		r.(*listed).lister.(*artifactoryLister).size, target.PageSize = artifactoryRows, artifactoryRows/properties
	})
	target.Concerns = func(r *http.Request, repository string) bool {
		return r.Method == http.MethodPost && strings.Contains(peek(t, r), `{"$match":"`+repository+`/*"}`)
	}
	return target
}

// TestSuiteArtifactoryByPath: images are named by the repository's key where the
// API is at the registry's host, and the registry's own login is used.
func TestSuiteArtifactoryByPath(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		api := registrytest.ArtifactoryAPI{Key: "docker-local", Prefix: "docker-local/", Authorization: "Basic dXNlcjpwYXNz"}
		own := api.Handler(registrytest.Watch(t, s))
		s.Mount("/artifactory/", own)
		cfg := config(s.Host)
		cfg.Kind, cfg.Keychain, cfg.PageSize = KindArtifactory, Static("user", "pass"), 20
		cfg.Cloud.Project = api.Key
		r := open(t, cfg)
		target := suiteTarget(r, s)
		target.Fill = fillTags(s, api.Prefix+"team/many", func() { r.(*listed).lister.(*artifactoryLister).size = artifactoryRows })
		target.Untagged, target.PageSize, target.Prefix, target.Refuse = true, cfg.PageSize, api.Prefix, registrytest.ArtifactoryRefuse
		target.Concerns = func(r *http.Request, repository string) bool {
			return r.Method == http.MethodPost && strings.Contains(peek(t, r), `{"$match":"`+strings.TrimPrefix(repository, api.Prefix)+`/*"}`)
		}
		return target
	})
}

// TestArtifactoryEntry: what the vendor's documentation shows, and what is not
// as it should be.
func TestArtifactoryEntry(t *testing.T) {
	t.Parallel()
	const hex = "4805b83bcfd574ac0201e62861c7077006286a854ca093a21dc9b35e1bcb10e7"
	item := func(path string) artifactoryItem {
		return artifactoryItem{Path: path, Name: "manifest.json", Size: 1372, SHA256: hex}
	}
	for name, c := range map[string]struct {
		group []artifactoryItem
		tags  []string
		ok    bool
	}{
		"tags":             {[]artifactoryItem{item("app/90"), item("app/93")}, []string{"90", "93"}, true},
		"tag and digest":   {[]artifactoryItem{item("app/90"), item("app/sha256__" + hex)}, []string{"90"}, true},
		"digest":           {[]artifactoryItem{item("app/sha256:" + hex)}, nil, true},
		"another's digest": {[]artifactoryItem{item("app/sha256:" + strings.Repeat("1", 64))}, nil, false},
		"no digest":        {[]artifactoryItem{{Path: "app/90"}}, []string{"90"}, false},
	} {
		e := artifactoryEntry(c.group)
		want(t, e.Tags, c.tags, name)
		if (e.fault == nil) != c.ok || c.ok && (e.Size != 1372 || e.Digest.Hex != hex || e.Cursor == "") || !isEntry(e.listedManifest) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestKeyedConfiguration: what both kinds need.
func TestKeyedConfiguration(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{KindArtifactory, KindNexus} {
		cfg := config("127.0.0.1:1")
		cfg.Kind = kind
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "cloud.project") {
			t.Errorf("%s: %v", kind, err)
		}
		cfg.Cloud.Project = "docker-local"
		r := open(t, cfg)
		for _, err := range r.Artifacts(t.Context(), Query{Repository: "elsewhere/app", Tags: always}) {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: another repository's image: %v", kind, err)
			}
		}
	}
}

// TestKeyedCatalog: a server that does not know how to begin after a name, and
// sends all again, is listed once.
func TestKeyedCatalog(t *testing.T) {
	t.Parallel()
	api := answering(t, `{"repositories":["a","b"]}`, http.StatusOK)
	k := keyed{api: api, said: "registry", size: 2}
	var names []string
	for name, err := range k.catalog(t.Context(), "v2", "_catalog") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	want(t, names, []string{"a", "b"}, "names")
}

// FuzzArtifactoryResults: whatever an API answers, a listing ends.
func FuzzArtifactoryResults(f *testing.F) {
	f.Add(`{"results":[{"repo":"r","path":"app/latest","name":"manifest.json","size":426,"sha256":"79c8e8e1199430b17e6d3d2110f93159b0cfb082e6b8fcf6d48edadefd7de799","properties":[{"key":"docker.manifest","value":"latest"}]}],"range":{"total":1}}`)
	f.Add(`{"results":[{"path":"app/a","sha256":"1"},{"path":"app/b","sha256":"1"},{"path":"","sha256":""}]}`)
	f.Add(`{"results":null}`)
	f.Add(`{"errors":[{"status":400,"message":"Failed to parse query"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		k := keyed{api: answering(t, body, http.StatusOK), said: "registry", size: 2, key: "r"}
		drain(t, (&artifactoryLister{k}).manifests(t.Context(), "app", ""))
		for range k.catalog(t.Context(), "v2", "_catalog") {
			continue
		}
	})
}
