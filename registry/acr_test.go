package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	acrHostName = "myregistry.azurecr.io"
	entraHost   = "login.example"
)

func acrConfig(a *registrytest.ACR) Config {
	cfg := config(a.Host)
	cfg.Kind, cfg.Keychain = KindACR, Static(registrytest.ACRUser, registrytest.ACRPassword)
	return cfg
}

// An entra is a loopback Entra ID, for a client with a secret.
type entra struct {
	issued  atomic.Int64
	revoked atomic.Int64 // tokens up to this number
	refuse  atomic.Bool
}

func (e *entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base := "https://" + r.Host
	switch {
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		_ = json.NewEncoder(w).Encode(map[string]string{
			"token_endpoint": base + "/tenant/oauth2/v2.0/token", "authorization_endpoint": base + "/tenant/oauth2/v2.0/authorize", "issuer": base + "/tenant/v2.0",
		})
	case r.Method != http.MethodPost:
		http.NotFound(w, r)
	case e.refuse.Load(), r.PostFormValue("client_secret") != "entra secret", r.PostFormValue("scope") != "https://containerregistry.azure.net/.default openid offline_access profile":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"AADSTS7000215: %s is not valid for %s"}`, r.PostFormValue("client_secret"), r.PostFormValue("scope"))
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"entra-%d"}`, e.issued.Add(1))
	}
}

// good reports whether a token was given out and not revoked.
func (e *entra) good(token string) bool {
	var n int64
	_, err := fmt.Sscanf(token, "entra-%d", &n)
	return err == nil && n > e.revoked.Load() && n <= e.issued.Load()
}

// acrAtHome reaches a by the name that Azure gives to it, with what the
// environment has of credentials.
func acrAtHome(t *testing.T, a *registrytest.ACR) (Config, *entra) {
	t.Helper()
	withoutCloud(t)
	t.Setenv("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555")
	t.Setenv("AZURE_TENANT_ID", "tenant")
	t.Setenv("AZURE_CLIENT_SECRET", "entra secret")
	t.Setenv("AZURE_AUTHORITY_HOST", "https://"+entraHost+"/")
	e := &entra{}
	a.Scheme, a.EntraToken = "https", e.good
	cfg := acrConfig(a)
	cfg.Host, cfg.Insecure, cfg.Keychain = acrHostName, false, nil
	cfg.Transport = direct{acrHostName: a, entraHost: e}
	return cfg, e
}

func TestSuiteACR(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		a := registrytest.NewACR(t)
		cfg := acrConfig(a)
		cfg.PageSize = 10
		target := suiteTarget(open(t, cfg), a.Server)
		target.Untagged, target.PageSize, target.Fill = true, cfg.PageSize, a.Fill
		target.Concerns = func(r *http.Request, repository string) bool {
			return r.URL.Path == "/acr/v1/"+repository+"/_manifests"
		}
		return target
	})
}

func TestACRScopesAndCosts(t *testing.T) {
	a := registrytest.NewACR(t)
	r := open(t, acrConfig(a))
	a.Fill(t, 2500)
	sent := counts(r)
	want(t, len(artifacts(t, r, Query{Repository: "team/many", Tags: always})), 2500, "artifacts")
	want(t, sent(), map[string]int64{"GET 401": 1, "GET 200": 4}, "ping, a token and three pages")
	want(t, a.Scopes(), []string{"repository:team/many:metadata_read"}, "scopes")
	for repository, err := range r.Repositories(t.Context()) {
		if err != nil {
			t.Fatalf("%s: %v", repository, err)
		}
	}
	if _, err := r.Resolve(t.Context(), "team/many", "t00001"); err != nil {
		t.Fatal(err)
	}
	want(t, a.Scopes()[1:], []string{"registry:catalog:*", "repository:team/many:push,pull"}, "scopes of the catalog and of a manifest")
}

// The first entry is from Azure's reference of its API (Manifests - Get List),
// the others were recorded by its SDK for JavaScript.
func TestACRAnswers(t *testing.T) {
	page, err := os.ReadFile("testdata/acr/manifests.json")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(serve(t, jsonBody(string(page))))
	cfg.Kind, cfg.Keychain = KindACR, Static("u", "p")
	list, faults, end := entriesOf(t, open(t, cfg).(*listed).lister, "library/hello-world", "")
	if end != nil {
		t.Fatal(end)
	}
	const docker = "application/vnd.docker.distribution.manifest."
	entry := func(hex, mediaType, artifactType string, tags ...string) listedManifest {
		digest := v1.Hash{Algorithm: "sha256", Hex: hex}
		return listedManifest{Descriptor: Descriptor{Digest: digest, MediaType: mediaType}, ArtifactType: artifactType, Tags: tags, Cursor: digest.String()}
	}
	want(t, list, []listedManifest{
		entry("110d2b6c84592561338aa040b1b14b7ab81c2f9edbd564c2285dd7d70d777086", docker+"v2+json", "", "4.7.2-20180905-nanoserver-1803"),
		entry("40d0cfd0861719208ff9f7747ab3f97844eeca509df705db44a736df863b76af", docker+"v2+json", ""),
		entry("5122f6204b6a3596e048758cabba3c46b1c937a46b5be6225b835d091b90e46c", docker+"list.v2+json", "", "test-delete", "test1"),
		entry("88b2e00179bd6c4064612403c8d42a13de7ca809d61fee966ce9e129860a8a90", docker+"v2+json", notationSignature),
	}, "manifests")
	want(t, faults, []string{"invalid:sha256:88b2"}, "entries that are of no use")
}

// The listing goes on behind a digest at no cost, and the recorded link is
// followed whatever host it names.
func TestACRPages(t *testing.T) {
	a := registrytest.NewACR(t)
	cfg := acrConfig(a)
	cfg.PageSize = 2
	r := open(t, cfg)
	for i := range 6 {
		pushImage(t, r, "team/app", fmt.Sprint(i), fmt.Sprint(i))
	}
	all := artifacts(t, r, Query{Repository: "team/app", Tags: always})
	a.Reset()
	want(t, artifacts(t, r, Query{Repository: "team/app", Tags: always, After: all[2].Cursor}), all[3:], "the rest")
	for _, line := range a.Log() {
		if !strings.HasPrefix(line, "GET /acr/v1/team/app/_manifests?last=sha256%3A") {
			t.Errorf("asked %s", line)
		}
	}
	want(t, len(a.Log()), 2, "requests")

	for name, test := range map[string]struct {
		link string
		want error
	}{
		"another host":   {`<https://elsewhere.example/acr/v1/x/_manifests?last=a>; rel="next"`, ErrCorrupt},
		"no beginning":   {`</acr/v1/x/_manifests?n=2>; rel="next"`, ErrCorrupt},
		"the same again": {`</acr/v1/x/_manifests?last=a>; rel="next"`, ErrCorrupt},
	} {
		cfg := config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", test.link)
			_, _ = io.WriteString(w, `{"manifests":[]}`)
		})))
		cfg.Kind, cfg.Keychain = KindACR, Static("u", "p")
		_, _, end := entriesOf(t, open(t, cfg).(*listed).lister, "x", "")
		wants(t, end, test.want, name)
	}
}

func TestACRErrors(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"no repository": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"errors":[{"code":"NAME_UNKNOWN"}]}`)
		}, ErrNotFound},
		"denied":   {status(403), ErrForbidden},
		"not JSON": {jsonBody("<html>"), ErrCorrupt},
	} {
		cfg := config(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			test.answer(w, r)
		})))
		cfg.Kind, cfg.Keychain = KindACR, Static("u", "p")
		l := open(t, cfg).(*listed).lister
		_, _, end := entriesOf(t, l, "team/app", "")
		wants(t, end, test.want, name)
		for _, err := range l.repositories(t.Context()) {
			wants(t, err, test.want, name+", catalog")
		}
	}
	cfg := config("127.0.0.1:1")
	cfg.Kind, cfg.Keychain = KindACR, Static("u", "p")
	_, _, end := entriesOf(t, open(t, cfg).(*listed).lister, "../app", "")
	wants(t, end, ErrCorrupt, "bad name")
}

// A token of Entra ID becomes a refresh token, and that the token of each scope;
// all are renewed in the middle of a walk.
func TestACRTokensAreRenewed(t *testing.T) {
	a := registrytest.NewACR(t)
	cfg, e := acrAtHome(t, a)
	synctest.Test(t, func(t *testing.T) {
		cfg.PageSize = 1
		r := open(t, cfg)
		for i := range 12 {
			pushImage(t, r, "team/app", fmt.Sprintf("v%02d", i), fmt.Sprint(i))
		}
		n := 0
		for _, err := range r.Artifacts(t.Context(), Query{Repository: "team/app", Tags: always}) {
			if err != nil {
				t.Fatalf("after %d artifacts: %v", n, err)
			}
			n++
			time.Sleep(time.Hour)
		}
		want(t, n, 12, "artifacts")
		if got := a.Exchanges(); got < 3 || got > 6 {
			t.Errorf("%d refresh tokens in 12 hours", got)
		}
		if got := e.issued.Load(); got < 3 || got > 6 {
			t.Errorf("%d tokens of Entra ID in 12 hours", got)
		}
	})
}

func TestACRTokensAreRenewedOnceWhenRefused(t *testing.T) {
	a := registrytest.NewACR(t)
	cfg, e := acrAtHome(t, a)
	r := open(t, cfg)
	m := pushImage(t, r, "team/app", "v1", "a")
	want(t, a.Exchanges(), 1, "refresh tokens")

	a.RevokeAccess()
	sent := counts(r)
	if _, err := r.PutManifest(t.Context(), "team/app", "v2", m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
	want(t, sent(), map[string]int64{"PUT 401": 1, "POST 200": 1, "PUT 201": 1}, "another access token")

	a.RevokeAccess()
	a.RevokeRefresh()
	if _, err := r.PutManifest(t.Context(), "team/app", "v3", m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
	want(t, a.Exchanges(), 2, "refresh tokens")

	a.RevokeAccess()
	a.RevokeRefresh()
	e.revoked.Store(e.issued.Load())
	if _, err := r.PutManifest(t.Context(), "team/app", "v4", m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
	want(t, a.Exchanges(), 3, "refresh tokens")
	issued := e.issued.Load()

	a.RevokeAccess()
	a.RevokeRefresh()
	a.EntraToken = func(string) bool { return false }
	_, err := r.PutManifest(t.Context(), "team/app", "v5", m.MediaType, m.Raw)
	wants(t, err, ErrUnauthorized, "nothing helps")
	want(t, e.issued.Load()-issued, 1, "tokens of Entra ID")
	keepsSecret(t, err, "entra-", "entra secret", "access-", "header.")
}

func TestACRWithoutCredentials(t *testing.T) {
	a := registrytest.NewACR(t)
	cfg, e := acrAtHome(t, a)
	e.refuse.Store(true)
	_, err := open(t, cfg).Resolve(t.Context(), "team/app", "v1")
	wants(t, err, ErrUnauthorized, "a client that Entra ID refuses")
	keepsSecret(t, err, "entra secret")

	t.Setenv("AZURE_CLIENT_SECRET", "")
	synctest.Test(t, func(t *testing.T) { // waits for metadata that is not there
		_, err := open(t, cfg).Resolve(t.Context(), "team/app", "v1")
		wants(t, err, ErrUnauthorized, "no credentials at all")
	})
}

// The machine's own identity, over plain HTTP although the registry has HTTPS.
func TestACRManagedIdentity(t *testing.T) {
	a := registrytest.NewACR(t)
	cfg, e := acrAtHome(t, a)
	t.Setenv("AZURE_CLIENT_SECRET", "")
	cfg.Transport.(direct)["169.254.169.254"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metadata/identity/oauth2/token" || r.Header.Get("Metadata") != "true" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":"3599","expires_on":"%d","resource":%q,"access_token":"entra-%d"}`,
			time.Now().Add(time.Hour).Unix(), r.FormValue("resource"), e.issued.Add(1))
	})
	pushImage(t, open(t, cfg), "team/app", "v1", "a")
	want(t, a.Exchanges(), 1, "refresh tokens")
}

func TestACRAudience(t *testing.T) {
	t.Setenv("AZURE_AUTHORITY_HOST", "")
	for host, want := range map[string]string{
		"r.azurecr.io": "https://containerregistry.azure.net/.default",
		"r.azurecr.cn": "https://management.chinacloudapi.cn/.default",
		"r.azurecr.us": "https://management.usgovcloudapi.net/.default",
	} {
		if got := azureAudience(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
		if at := azureCloud(host).ActiveDirectoryAuthorityHost; (at == "") != strings.HasSuffix(host, ".io") {
			t.Errorf("%s: authority %q", host, at)
		}
	}
}

func FuzzTokenExpiry(f *testing.F) {
	f.Add("header.eyJleHAiOjE0OTc5OTA4MDF9.signature") // {"exp":1497990801}
	f.Add("a.b.c")
	f.Add("header.eyJleHAiOi0xfQ.signature")
	f.Fuzz(func(t *testing.T, token string) {
		if at := tokenExpiry(token); !at.IsZero() && at.Before(time.Unix(0, 0)) {
			t.Errorf("%q ends at %s", token, at)
		}
	})
}

func TestTokenExpiry(t *testing.T) {
	want(t, tokenExpiry("header.eyJleHAiOjE0OTc5OTA4MDF9.signature").Unix(), 1497990801, "expiry")
	for _, token := range []string{"", "a.b", "header.%.s", "header.e30.s", "header.eyJleHAiOiJ4In0.s", "header.eyJleHAiOi0xfQ.s"} {
		want(t, tokenExpiry(token), time.Time{}, token)
	}
}
