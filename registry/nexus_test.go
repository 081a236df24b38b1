package registry

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func TestSuiteNexus(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		size := 5
		target := nexusTarget(t, registrytest.NexusAPI{PageSize: &size})
		target.PageSize = 2 // of each manifest, its digest and its tag
		target.Fill = fillTags(target.Server, "team/many", func() { size, target.PageSize = 500, 250 })
		return target
	})
}

// nexusTarget is a registry with a port of its own.
func nexusTarget(t *testing.T, api registrytest.NexusAPI) *registrytest.SuiteTarget {
	t.Helper()
	s := registrytest.Memory(t)
	cfg := config(s.Host)
	api.Repository, api.Authorization = "docker-hosted", "Bearer "+exampleToken
	own := registrytest.Nexus(t, registrytest.Watch(t, s), api)
	cfg.Kind, cfg.API, cfg.PageSize = KindNexus, "http://"+own.Host, 3
	cfg.Cloud = Cloud{Project: api.Repository, Secret: secretOf(exampleToken)}
	target := suiteTarget(open(t, cfg), s)
	target.API, target.Untagged = own, true
	target.Concerns = func(r *http.Request, repository string) bool {
		return r.URL.Query().Get("docker.imageName") == repository
	}
	target.Refuse = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
	return target
}

// TestSuiteNexusByPath: images are named by the repository where the API is at
// the registry's host, and the registry's own login is used.
func TestSuiteNexusByPath(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		size := 6
		api := registrytest.NexusAPI{PageSize: &size, Repository: "docker-hosted", Prefix: "docker-hosted/", Authorization: "Basic dXNlcjpwYXNz"}
		own := api.Handler(registrytest.Watch(t, s))
		s.Mount("/service/", own)
		s.Mount("/repository/", own)
		cfg := config(s.Host)
		cfg.Kind, cfg.Keychain = KindNexus, Static("user", "pass")
		cfg.Cloud.Project = api.Repository
		target := suiteTarget(open(t, cfg), s)
		target.Untagged, target.PageSize, target.Prefix = true, size/2, api.Prefix
		target.Fill = fillTags(s, api.Prefix+"team/many", func() { size, target.PageSize = 500, 250 })
		target.Concerns = func(r *http.Request, repository string) bool {
			return api.Prefix+r.URL.Query().Get("docker.imageName") == repository
		}
		target.Refuse = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
		return target
	})
}

// TestNexusOld: what an old version leaves out is asked for.
func TestNexusOld(t *testing.T) {
	t.Parallel()
	target := nexusTarget(t, registrytest.NexusAPI{Old: true})
	r := target.Inventory.(suiteInventory).Registry
	image := pushImage(t, r, "team/app", "v1", "a")
	list := artifacts(t, r, Query{Repository: "team/app", Tags: always, Untagged: true})
	if len(list) != 1 || list[0].Digest != image.Digest || list[0].Size != image.Size || list[0].MediaType != image.MediaType {
		t.Errorf("%+v, want %+v", list, image.Descriptor)
	}
}

// TestNexusWrongChecksum: a manifest that is stored as another one is an error
// of its own.
func TestNexusWrongChecksum(t *testing.T) {
	t.Parallel()
	digest := sum([]byte("x"))
	for checksum, ok := range map[string]bool{digest.Hex: true, strings.Repeat("0", 64): false, "": true} {
		asset := nexusAsset{ContentType: ociManifest}
		asset.Checksum.SHA256 = checksum
		e, err := (&nexusLister{}).entry(t.Context(), "team/app", digest.String(), asset)
		if err != nil || (e.fault == nil) != ok || !isEntry(e.listedManifest) {
			t.Errorf("%q: %+v, %v", checksum, e, err)
		}
	}
}

// FuzzNexusAssets: whatever an API answers, a listing ends.
func FuzzNexusAssets(f *testing.F) {
	f.Add(`{"items":[{"path":"v2/team/app/manifests/v1","contentType":"` + ociManifest + `","fileSize":3,"checksum":{"sha256":"` + strings.Repeat("3", 64) + `"}}],"continuationToken":null}`)
	f.Add(`{"items":[{"path":"/v2/team/app/manifests/sha256:1"},{"path":"v2/-/blobs/x"}],"continuationToken":"x"}`)
	f.Add(`{"items":[],"continuationToken":"x"}`)
	f.Add(`[{"id":"*","message":"x"}]`)
	f.Fuzz(func(t *testing.T, body string) {
		k := keyed{api: answering(t, body, http.StatusOK), said: "registry", size: 2, key: "r"}
		offline := client(t, config("127.0.0.1:1"))
		offline.transport.base = k.api.transport.base
		drain(t, (&nexusLister{keyed: k, client: offline}).manifests(t.Context(), "team/app", ""))
	})
}
