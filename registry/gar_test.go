package registry

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	garHostName = registrytest.GARLocation + "-docker.pkg.dev"
	garPrefix   = registrytest.GARProject + "/" + registrytest.GARRepository + "/"
)

// accountKey returns the key of a service account whose tokens are got at a
// URL.
func accountKey(t *testing.T, tokenURL string) string {
	t.Helper()
	return string(encode(t, map[string]string{
		"type": "service_account", "project_id": registrytest.GARProject, "client_email": "signer@test-project.iam.gserviceaccount.com",
		"private_key_id": "1", "private_key": testRSA(), "token_uri": tokenURL,
	}))
}

// testRSA makes one key for all tests: it takes long.
var testRSA = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

// garConfig reaches g over loopback, with the file of a service account.
func garConfig(t *testing.T, g *registrytest.GAR) Config {
	t.Helper()
	cfg := config(g.Host)
	cfg.Kind, cfg.API = KindGAR, "http://"+g.Host
	cfg.Cloud = Cloud{Region: registrytest.GARLocation, ConfigFile: garFile(t, accountKey(t, "http://"+g.Host+"/token"))}
	return cfg
}

func garFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// garAtHome reaches g by the names that Google gives to its hosts.
func garAtHome(t *testing.T, g *registrytest.GAR) Config {
	t.Helper()
	withoutCloud(t)
	g.Scheme = "https"
	cfg := garConfig(t, g)
	cfg.Host, cfg.API, cfg.Insecure = garHostName, "", false
	cfg.Cloud = Cloud{ConfigFile: garFile(t, accountKey(t, "https://oauth2.googleapis.com/token"))}
	cfg.Transport = direct{garHostName: g, "artifactregistry.googleapis.com": g, "oauth2.googleapis.com": g}
	return cfg
}

func TestSuiteGAR(t *testing.T) {
	withoutCloud(t)
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		g := registrytest.NewGAR(t)
		target := suiteTarget(open(t, garConfig(t, g)), g.Server)
		target.Untagged, target.Prefix, target.Fill = true, garPrefix, g.Fill
		return target
	})
}

// The API is asked where the listing of tags says too little.
func TestSuiteGARByItsAPI(t *testing.T) {
	withoutCloud(t)
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		g := registrytest.NewGAR(t)
		g.Listing = registrytest.GARBare
		cfg := garConfig(t, g)
		cfg.PageSize, cfg.Cloud.Project = 10, registrytest.GARProject
		target := suiteTarget(open(t, cfg), g.Server)
		target.Untagged, target.Prefix, target.Fill, target.PageSize = true, garPrefix, g.Fill, cfg.PageSize
		target.Concerns = func(r *http.Request, repository string) bool {
			image := "/packages/" + strings.ReplaceAll(strings.TrimPrefix(repository, garPrefix), "/", "%2F") + "/"
			return strings.Contains(r.URL.EscapedPath(), image)
		}
		target.Refuse = func(w http.ResponseWriter, _ *http.Request) {
			registrytest.GARError(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission 'artifactregistry.versions.list' denied")
		}
		return target
	})
}

func TestGARBelievesNoPartOfAListing(t *testing.T) {
	for name, listing := range map[string]registrytest.GARListing{"paged": registrytest.GARPaged, "cut": registrytest.GARCut} {
		g := registrytest.NewGAR(t)
		g.Listing, g.PageSize = listing, 5
		r := open(t, garAtHome(t, g))
		f := g.Fill(t, 30)
		got := map[string]string{}
		for _, a := range artifacts(t, r, Query{Repository: f.Repository, Tags: always}) {
			got[a.Tags[0]] = a.Digest.String()
		}
		want(t, got, f.Tags, name)
	}
}

func TestGARTakesItsPlaceFromTheHost(t *testing.T) {
	for _, test := range []struct {
		host, project, name string
		place               garPlace
		parsed              garName
	}{
		{"us-west4-docker.pkg.dev", "p", "p/r/a/b", garPlace{"p", "us-west4", ""}, garName{"p", "r", "a/b"}},
		{"europe-docker.pkg.dev", "example.com:p", "example.com/p/r/a", garPlace{"example.com:p", "europe", ""}, garName{"example.com:p", "r", "a"}},
		{"gcr.io", "p", "p/a/b", garPlace{"p", "us", "gcr.io"}, garName{"p", "gcr.io", "a/b"}},
		{"eu.gcr.io", "example.com:p", "example.com/p/a", garPlace{"example.com:p", "europe", "eu.gcr.io"}, garName{"example.com:p", "eu.gcr.io", "a"}},
		{"asia.gcr.io", "p", "p/a", garPlace{"p", "asia", "asia.gcr.io"}, garName{"p", "asia.gcr.io", "a"}},
	} {
		place := newGARPlace(Config{Host: test.host, Cloud: Cloud{Project: test.project}})
		want(t, place == test.place, true, fmt.Sprintf("%s: %+v", test.host, place))
		parsed, err := place.parse(test.name)
		if err != nil || parsed != test.parsed {
			t.Errorf("%s: %+v, %v", test.name, parsed, err)
		}
		want(t, place.full(parsed.repository, parsed.image), test.name, "name put together again")
	}
	_, err := newGARPlace(Config{Host: "gcr.io"}).parse("p")
	wants(t, err, ErrNotFound, "a project alone")
	_, err = newGARPlace(Config{Host: "mirror.example"}).parse("p/r/a")
	wants(t, err, ErrUnsupported, "an unknown place")
	cfg := Config{Name: "test", Host: "mirror.example", Kind: KindGAR, Cloud: Cloud{Project: "p"}}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "cloud.region") {
		t.Errorf("got %v", err)
	}
}

// A whole repository costs one request, and its own API one a page.
func TestGARCosts(t *testing.T) {
	g := registrytest.NewGAR(t)
	r := open(t, garAtHome(t, g))
	f := g.Fill(t, 2500)
	artifacts(t, r, Query{Repository: f.Repository, Tags: always}) // logs in
	sent := counts(r)
	want(t, len(artifacts(t, r, Query{Repository: f.Repository, Tags: always})), 2500, "artifacts")
	want(t, sent(), map[string]int64{"GET 200": 1}, "requests")
	g.Listing = registrytest.GARBare
	want(t, len(artifacts(t, r, Query{Repository: f.Repository, Tags: always})), 2500, "artifacts")
	want(t, sent(), map[string]int64{"GET 200": 4}, "requests of the API")
	want(t, g.Logins(), 1, "logins")
}

func TestGARAnswers(t *testing.T) {
	withoutCloud(t)
	answer := func(file string) http.Handler {
		raw, err := os.ReadFile(filepath.Join("testdata/gar", file))
		if err != nil {
			t.Fatal(err)
		}
		return jsonBody(string(raw))
	}
	g := registrytest.NewGAR(t)
	cfg := garAtHome(t, g)
	cfg.Keychain = Static("oauth2accesstoken", g.AccessToken())
	cfg.Transport.(direct)[garHostName] = answer("tags-list.json")
	cfg.Transport.(direct)["artifactregistry.googleapis.com"] = answer("versions.json")
	l := open(t, cfg).(*listed).lister.(*garLister)
	entry := func(hex, mediaType, artifactType, behind string, tags ...string) listedManifest {
		digest := v1.Hash{Algorithm: "sha256", Hex: hex}
		return listedManifest{Descriptor: Descriptor{Digest: digest, MediaType: mediaType}, ArtifactType: artifactType, Tags: tags, Cursor: digest.String() + behind}
	}
	const (
		docker = "application/vnd.docker.distribution.manifest.v2+json"
		image  = "e9954c1fc875017be1c3e36eca16be2d9e9bccc4bf072163515467d6a823c7cf"
		index  = "40d0cfd0861719208ff9f7747ab3f97844eeca509df705db44a736df863b76af"
		sig    = "5122f6204b6a3596e048758cabba3c46b1c937a46b5be6225b835d091b90e46c"
		other  = "88b2e00179bd6c4064612403c8d42a13de7ca809d61fee966ce9e129860a8a90"
	)
	list, faults, end := entriesOf(t, l, "test-project/test-repo/nginx", "")
	if end != nil {
		t.Fatal(end)
	}
	for i := range list { // an empty list is none
		if len(list[i].Tags) == 0 {
			list[i].Tags = nil
		}
	}
	want(t, list, []listedManifest{entry(index, ociIndex, "", ""), entry(image, docker, "", "", "v1", "latest")}, "by tags")
	want(t, faults, []string{"invalid:sha256:short"}, "entries that are of no use")

	multi := entry(index, ociIndex, "", " ")
	multi.Children = []v1.Hash{{Algorithm: "sha256", Hex: image}}
	cfg.Transport.(direct)[garHostName] = jsonBody(`{"name":"x","tags":["v1"]}`)
	list, faults, end = entriesOf(t, l, "test-project/test-repo/team/nginx", "")
	if end != nil {
		t.Fatal(end)
	}
	for i := range list {
		if len(list[i].Tags) == 0 {
			list[i].Tags = nil
		}
	}
	want(t, list, []listedManifest{
		entry(image, docker, "", " ", "v1"), multi, entry(sig, ociManifest, notationSignature, " "),
		entry(other, ociIndex, "", " "), // whose entries are of no platform: referrers, perhaps
	}, "by the API")
	want(t, faults, []string{"invalid:1.0"}, "versions that are no manifests")
}

func TestGARManyTagsOfOneImage(t *testing.T) {
	g := registrytest.NewGAR(t)
	g.Listing = registrytest.GARBare
	r := open(t, garAtHome(t, g))
	m := pushImage(t, r, garPrefix+"app", "v0", "a")
	for i := range 250 {
		put(t, r, garPrefix+"app", fmt.Sprintf("v%d", i), m.MediaType, m.Raw)
	}
	list := artifacts(t, r, Query{Repository: garPrefix + "app", Tags: always})
	if len(list) != 1 || len(list[0].Tags) != 250 {
		t.Errorf("%d artifacts, the first with %d tags", len(list), len(list[0].Tags))
	}
}

// Images of repositories that can not be written to are not listed, and a
// repository that may not be listed keeps no other from that.
func TestGARRepositories(t *testing.T) {
	g := registrytest.NewGAR(t)
	cfg := garAtHome(t, g)
	cfg.PageSize, cfg.Cloud.Project = 2, registrytest.GARProject
	r := open(t, cfg)
	var names []string
	for _, name := range []string{"a", "b/c", "d", "e"} {
		pushImage(t, r, garPrefix+name, "v1", name)
		names = append(names, garPrefix+name)
	}
	g.Reset()
	var got []string
	for name, err := range r.Repositories(t.Context()) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got = append(got, name)
	}
	want(t, got, names, "repositories")
	want(t, len(g.Log()), 4, "two pages of repositories and two of images")

	cfg.Transport.(direct)["artifactregistry.googleapis.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/packages") {
			registrytest.GARError(w, http.StatusForbidden, "PERMISSION_DENIED", "no")
			return
		}
		g.ServeHTTP(w, r)
	})
	failed := 0
	for name, err := range r.Repositories(t.Context()) {
		wants(t, err, ErrForbidden, name)
		want(t, name, garPrefix, "name of what failed")
		failed++
	}
	want(t, failed, 1, "errors")
}

func TestGARErrors(t *testing.T) {
	g := registrytest.NewGAR(t)
	cfg := garAtHome(t, g)
	g.Listing = registrytest.GARBare
	r := open(t, cfg)
	pushImage(t, r, garPrefix+"app", "v1", "a")
	l := r.(*listed).lister
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"denied":       {func(w http.ResponseWriter, _ *http.Request) { registrytest.GARError(w, 403, "PERMISSION_DENIED", "no") }, ErrForbidden},
		"not there":    {func(w http.ResponseWriter, _ *http.Request) { registrytest.GARError(w, 404, "NOT_FOUND", "no") }, ErrNotFound},
		"refused":      {func(w http.ResponseWriter, _ *http.Request) { registrytest.GARError(w, 401, "UNAUTHENTICATED", "no") }, ErrUnauthorized},
		"bad argument": {func(w http.ResponseWriter, _ *http.Request) { registrytest.GARError(w, 400, "INVALID_ARGUMENT", "no") }, ErrRejected},
		"not JSON":     {jsonBody(`<html>`), ErrCorrupt},
	} {
		cfg.Transport.(direct)["artifactregistry.googleapis.com"] = test.answer
		_, _, end := entriesOf(t, l, garPrefix+"app", "")
		wants(t, end, test.want, name)
		keepsSecret(t, end, "ya29")
	}
	_, _, end := entriesOf(t, l, "../app", "")
	wants(t, end, ErrCorrupt, "bad name")
	_, _, end = entriesOf(t, l, garPrefix+"missing", "")
	wants(t, end, ErrNotFound, "missing")
}

// A first page that is not all is not taken for all.
func TestGARPartialListings(t *testing.T) {
	for name, test := range map[string]struct {
		body, link string
		want       error
	}{
		"whole":                 {`{"tags":["a"],"manifest":{"sha256:x":{"tag":["a"]}}}`, "", nil},
		"empty":                 {`{"tags":[],"manifest":{}}`, "", nil},
		"untagged alone":        {`{"manifest":{"sha256:x":{}}}`, "", nil},
		"no manifests":          {`{"tags":["a"]}`, "", errPartial},
		"a tag of no manifest":  {`{"tags":["a","b"],"manifest":{"sha256:x":{"tag":["a"]}}}`, "", errPartial},
		"another page":          {`{"tags":["a"],"manifest":{"sha256:x":{"tag":["a"]}}}`, `</v2/p/r/app/tags/list?last=a>; rel="next"`, errPartial},
		"another kind of thing": {`{"tags":["a"],"manifest":[]}`, "", ErrCorrupt},
	} {
		cfg := config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if test.link != "" {
				w.Header().Set("Link", test.link)
			}
			_, _ = io.WriteString(w, test.body)
		})))
		cfg.Kind, cfg.Keychain = KindGAR, Static("oauth2accesstoken", "t")
		l := open(t, cfg).(*listed).lister.(*garLister)
		_, err := l.all(t.Context(), "p/r/app")
		if test.want == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if test.want != nil {
			wants(t, err, test.want, name)
		}
	}
}

// Access tokens last an hour and are replaced before they end, in the middle of
// a walk.
func TestGARTokensAreRenewed(t *testing.T) {
	g := registrytest.NewGAR(t)
	g.Listing = registrytest.GARBare
	cfg := garAtHome(t, g)
	cfg.PageSize = 1
	testRSA()
	synctest.Test(t, func(t *testing.T) {
		r := open(t, cfg)
		for i := range 12 {
			pushImage(t, r, garPrefix+"app", fmt.Sprintf("v%02d", i), fmt.Sprint(i))
		}
		n := 0
		sent := counts(r)
		for a, err := range r.Artifacts(t.Context(), Query{Repository: garPrefix + "app", Tags: always}) {
			if err != nil {
				t.Fatalf("after %d artifacts: %v", n, err)
			}
			if _, err := r.Resolve(t.Context(), garPrefix+"app", a.Tags[0]); err != nil {
				t.Fatalf("after %d artifacts: %v", n, err)
			}
			n++
			time.Sleep(20 * time.Minute)
		}
		want(t, n, 12, "artifacts")
		if got := g.Logins(); got < 4 || got > 8 {
			t.Errorf("%d access tokens in 4 hours", got)
		}
		for request := range sent() {
			if strings.HasSuffix(request, "401") {
				t.Errorf("a token was used until it was refused: %s", request)
			}
		}
	})
}

func TestGARTokensAreRenewedOnceWhenRefused(t *testing.T) {
	g := registrytest.NewGAR(t)
	g.Listing = registrytest.GARBare
	r := open(t, garAtHome(t, g))
	m := pushImage(t, r, garPrefix+"app", "v1", "a")
	want(t, g.Logins(), 1, "logins")
	g.Revoke()
	if _, err := r.PutManifest(t.Context(), garPrefix+"app", "v2", m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
	want(t, g.Logins(), 2, "logins, for the registry")
	g.Revoke()
	want(t, len(artifacts(t, r, Query{Repository: garPrefix + "app", Tags: always})), 1, "artifacts")
	g.Revoke()
	g.Login = func(string) bool { return false }
	_, err := r.PutManifest(t.Context(), garPrefix+"app", "v3", m.MediaType, m.Raw)
	wants(t, err, ErrUnauthorized, "nothing helps")
	keepsSecret(t, err, "ya29", "bearer-", "eyJ", "PRIVATE KEY")
}

// Where the registry's own password is the key of a service account, or a token,
// the API is asked with that.
func TestGARTakesTheRegistrysOwnPassword(t *testing.T) {
	g := registrytest.NewGAR(t)
	g.Listing = registrytest.GARBare
	cfg := garAtHome(t, g)
	cfg.Cloud.ConfigFile = "/does/not/exist"
	key := accountKey(t, "https://oauth2.googleapis.com/token")
	for name, test := range map[string]struct {
		user, password string
		want           error
	}{
		"key":           {"_json_key", key, nil},
		"key in base64": {"_json_key_base64", base64.StdEncoding.EncodeToString([]byte(key)), nil},
		"token":         {"oauth2accesstoken", g.AccessToken(), nil},
		"no base64":     {"_json_key_base64", "%", ErrUnauthorized},
		"another user":  {"geheim", "geheim", ErrUnauthorized},
	} {
		cfg.Keychain = Static(test.user, test.password)
		r := open(t, cfg)
		_, err := r.(*listed).lister.(*garLister).api.login.token(t.Context(), "")
		if test.want != nil {
			wants(t, err, test.want, name)
			keepsSecret(t, err, "geheim", "PRIVATE KEY")
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pushImage(t, r, garPrefix+"app", "v1", "a")
		want(t, len(artifacts(t, r, Query{Repository: garPrefix + "app", Tags: always})), 1, name)
	}
}

func TestGARCredentialFilesThatAreNone(t *testing.T) {
	g := registrytest.NewGAR(t)
	cfg := garAtHome(t, g)
	for name, content := range map[string]string{
		"no JSON":      `geheim`,
		"another type": `{"type":"geheime_art"}`,
		"no key":       `{"type":"service_account","private_key":"geheim","client_email":"a@b","token_uri":"https://oauth2.googleapis.com/token"}`,
		"bad uri":      strings.Replace(accountKey(t, "https://oauth2.googleapis.com/token"), "https://oauth2", "http://oauth2", 1),
	} {
		cfg.Cloud.ConfigFile = garFile(t, content)
		_, err := open(t, cfg).Resolve(t.Context(), garPrefix+"app", "v1")
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		keepsSecret(t, err, "geheim\"", "PRIVATE KEY", "eyJ")
	}
	cfg.Cloud.ConfigFile = filepath.Join(t.TempDir(), "missing")
	_, err := open(t, cfg).Resolve(t.Context(), garPrefix+"app", "v1")
	wants(t, err, ErrUnauthorized, "no file")
}

// The file that the environment names, gcloud's own, and the machine's metadata.
func TestGARApplicationDefaultCredentials(t *testing.T) {
	g := registrytest.NewGAR(t)
	cfg := garAtHome(t, g)
	key := accountKey(t, "https://oauth2.googleapis.com/token")
	cfg.Cloud.ConfigFile = ""
	cfg.Transport.(direct)["metadata.google.internal"] = g
	var asked []string
	g.Login = func(string) bool {
		asked = append(asked, "account")
		return true
	}
	push := func(tag string) int {
		t.Helper()
		before := g.Logins()
		pushImage(t, open(t, cfg), garPrefix+"app", tag, tag)
		return g.Logins() - before
	}
	want(t, push("v1"), 1, "tokens of the metadata server")
	want(t, len(asked), 0, "tokens of an account")

	home := filepath.Join(os.Getenv("HOME"), ".config", "gcloud")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "application_default_credentials.json"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	push("v2")
	want(t, asked, []string{"account"}, "gcloud's file")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", garFile(t, `{"type":"nothing"}`))
	_, err := open(t, cfg).Resolve(t.Context(), garPrefix+"app", "v1")
	wants(t, err, ErrUnauthorized, "the environment's file goes first")
}

func FuzzGARPage(f *testing.F) {
	for _, file := range []string{"tags-list.json", "versions.json"} {
		raw, err := os.ReadFile(filepath.Join("testdata/gar", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		page, err := parseGARPage(raw)
		if err != nil {
			return
		}
		list := page.entries()
		want(t, len(list), len(page.Manifests), "entries")
		for _, m := range list {
			if _, err := v1.NewHash(m.Digest.String()); (err == nil) != (m.fault == nil) {
				t.Errorf("%s: %v", m.Digest, m.fault)
			}
		}
	})
}
