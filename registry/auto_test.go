package registry

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/registry/registrytest"
)

func autoConfig(host string) Config {
	cfg := config(host)
	cfg.Kind = KindAuto
	return cfg
}

// detectedAs opens a registry of kind auto and returns what it was found to be.
func detectedAs(t *testing.T, cfg Config) (r Registry, kind, because string) {
	t.Helper()
	r = open(t, cfg)
	d, err := r.(Detector).Detected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r, d.Kind, d.Because
}

func TestAutoKnowsHosts(t *testing.T) {
	secret := func() ([]byte, error) { return []byte("token"), nil }
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":         KindECR,
		"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com":    KindECR,
		"123456789012.dkr-ecr.eu-west-1.on.aws":                KindECR,
		"europe-west4-docker.pkg.dev":                          KindGAR,
		"EU.gcr.io":                                            KindGAR,
		"gcr.io":                                               KindGAR,
		"acme.azurecr.io":                                      KindACR,
		"acme.azurecr.cn":                                      KindACR,
		"acme.azurecr.us":                                      KindACR,
		"acme.tencentcloudcr.com":                              KindTCR,
		"quay.io":                                              KindQuay,
		"registry.gitlab.com":                                  KindGitLab,
		"acme-x1.swr-pro.cn-north-4.myhuaweicloud.com":         KindSWR,
		"fra.ocir.io":                                          KindOCIR,
		"ocir.eu-frankfurt-1.oci.oraclecloud.com":              KindOCIR,
		"swr.cn-north-4.myhuaweicloud.com":                     "",
		"registry.example.com":                                 "",
		"gcr.io.example.com":                                   "",
		"acme.azurecr.io.example.com":                          "",
		"registry.oci.example.com":                             "",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com.fake.io": "",
	} {
		if kind, because := hostKind(host); kind != want || (kind == "") != (because == "") {
			t.Errorf("%s is %q because %q, want %q", host, kind, because, want)
		}
	}
	t.Setenv("HUAWEICLOUD_SDK_AK", "ak")
	t.Setenv("HUAWEICLOUD_SDK_SK", "sk")
	for host, cloud := range map[string]Cloud{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": {},
		"europe-west4-docker.pkg.dev":                  {},
		"acme.azurecr.io":                              {},
		"quay.io":                                      {Secret: secret},
		"registry.gitlab.com":                          {Project: "acme"},
		"acme-x1.swr-pro.cn-north-4.myhuaweicloud.com": {Region: "cn-north-4", Project: "p", Instance: "i"},
		"acme.tencentcloudcr.com":                      {Region: "ap-guangzhou", Instance: "tcr-1", AccessKey: "ak", Secret: secret},
	} {
		r, kind, because := detectedAs(t, Config{Name: "x", Host: host, Kind: KindAuto, Cloud: cloud})
		want, _ := hostKind(host)
		if kind != want || because == "" || r.Requests().Total() != 0 {
			t.Errorf("%s is opened as %q because %q, want %s; %d requests", host, kind, because, want, r.Requests().Total())
		}
	}
}

func TestAutoKnowsDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	newLayout(t, dir)
	r, kind, _ := detectedAs(t, Config{Name: "x", Host: layoutScheme + dir, Kind: KindAuto})
	want(t, kind, KindOCILayout, "kind")
	want(t, r.Untagged(), "", "untagged artifacts can be seen")
}

// naming answers like a registry whose answers have a header.
func naming(t *testing.T, name, value string) string {
	t.Helper()
	s := registrytest.Memory(t)
	s.Intercept(func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(name, value)
			if r.URL.Path == "/v2/" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			registry.ServeHTTP(w, r)
		})
	})
	return s.Host
}

// TestAutoAsks: the answers are those of real servers, as far as they are read.
func TestAutoAsks(t *testing.T) {
	token := func() ([]byte, error) { return []byte(registrytest.QuayToken), nil }
	harbor, quay, zot := registrytest.NewHarbor(t), registrytest.NewQuay(t), registrytest.NewZot(t)
	for name, c := range map[string]struct {
		cfg       func(Config) Config
		host      string
		kind      string
		because   string
		untagged  string // a part of it
		questions int64
	}{
		"harbor": {host: harbor.Host, kind: KindHarbor, because: `its tokens are for "harbor-registry", and /api/v2.0/ping answers`, questions: 2},
		"quay": {host: quay.Host, kind: KindQuay, because: `/api/v1/discovery describes the API of "Quay Frontend"`, untagged: "Quay lists tags", questions: 2,
			cfg: func(c Config) Config { c.Cloud.Secret = token; return c }},
		"quay without a token": {host: quay.Host, kind: KindGeneric, untagged: "looks like quay, which cannot be used as it is configured (cloud.secret_file: want", questions: 2,
			because: `/api/v1/discovery describes the API of "Quay Frontend"`},
		"zot": {host: zot.Host, kind: KindZot, because: "/v2/_oci/ext/discover lists the extension _zot", untagged: "zot's search", questions: 3},
		"artifactory": {host: naming(t, "X-JFrog-Version", "Artifactory/7.104.6 80406900"), kind: KindArtifactory, because: `it calls itself "Artifactory/7.104.6 80406900"`, questions: 1,
			cfg: func(c Config) Config { c.Cloud.Project = "docker-local"; return c }},
		"artifactory by its id": {host: naming(t, "X-Artifactory-Id", "71d7"), kind: KindArtifactory, because: "X-Artifactory-Id", questions: 1,
			cfg: func(c Config) Config { c.Cloud.Project = "docker-local"; return c }},
		"nexus": {host: naming(t, "Server", "Nexus/3.63.0-01 (OSS)"), kind: KindNexus, because: `it calls itself "Nexus/3.63.0-01 (OSS)"`, questions: 1,
			cfg: func(c Config) Config { c.Cloud.Project = "docker-hosted"; return c }},
		"nexus without a repository": {host: naming(t, "WWW-Authenticate", `BASIC realm="Sonatype Nexus Repository Manager"`), kind: KindGeneric, untagged: "looks like nexus", because: "Sonatype", questions: 1},
		"gitlab": {host: naming(t, "WWW-Authenticate", `Bearer realm="https://gitlab.example.com/jwt/auth",service="container_registry"`), kind: KindGitLab, untagged: "GitLab lists tags", questions: 1, because: "/jwt/auth",
			cfg: func(c Config) Config { c.Cloud.Project, c.API = "acme", "https://gitlab.example.com"; return c }},
		"distribution": {host: registrytest.Distribution(t).Host, kind: KindGeneric, because: "nothing that it answers", untagged: "the distribution API does not list", questions: 3},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := autoConfig(c.host)
			if c.cfg != nil {
				cfg = c.cfg(cfg)
			}
			r := open(t, cfg)
			want(t, r.Requests().Total(), int64(0), "requests to open it")
			if r.Untagged() == "" {
				t.Error("untagged artifacts are said to be seen before it is known")
			}
			d, err := r.(Detector).Detected(t.Context())
			if err != nil || d.Kind != c.kind || !strings.Contains(d.Because, c.because) || (d.Lacks != "") != strings.Contains(c.untagged, "looks like") {
				t.Errorf("%+v, want %q because %q: %v", d, c.kind, c.because, err)
			}
			if said := r.Untagged(); c.untagged == "" && said != "" || !strings.Contains(said, c.untagged) {
				t.Errorf("untagged: %q, want %q", said, c.untagged)
			}
			want(t, r.Requests().Total(), c.questions, "requests to find it out")
			if _, err := r.(Detector).Detected(t.Context()); err != nil || r.Requests().Total() != c.questions {
				t.Errorf("asked again: %d requests, %v", r.Requests().Total(), err)
			}
		})
	}
}

func breakOff(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// TestAutoIsThatKind: the listing costs what that of the kind costs, and the
// client is one.
func TestAutoIsThatKind(t *testing.T) {
	h := registrytest.NewHarbor(t)
	cfg := harborConfig(h)
	cfg.Kind = KindAuto
	r := open(t, cfg)
	pushImage(t, r, "team/app", "v1", "a")
	m := pushImage(t, r, "team/app", "v2", "b")
	h.Reset()
	var found []string
	for repository, err := range r.Repositories(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for a, err := range r.Artifacts(t.Context(), Query{Repository: repository, Tags: func(string) bool { return true }, Untagged: true}) {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, a.Tags...)
		}
	}
	want(t, found, []string{"v1", "v2"}, "tags")
	want(t, h.Requests()["HEAD"], 0, "HEAD requests")
	if err := r.(Deleter).Delete(t.Context(), "team/app", m.Digest); err != nil {
		t.Errorf("deleting: %v", err)
	}
	tags := 0
	for _, err := range r.(TagLister).AllTags(t.Context(), "team/app") {
		if err != nil {
			t.Fatal(err)
		}
		tags++
	}
	want(t, tags, 1, "tags that are left")
}

func TestSuiteAuto(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		z := registrytest.NewZot(t)
		cfg := autoConfig(z.Host)
		cfg.PageSize = 5
		r, kind, _ := detectedAs(t, cfg)
		want(t, kind, KindZot, "kind")
		target := suiteTarget(r, z.Server)
		target.PageSize, target.Fill = cfg.PageSize, z.Fill
		cfg.PageSize = 0
		usual, _, _ := detectedAs(t, cfg)
		target.Usual, target.UsualPage = suiteInventory{usual}, defaultPageSize/2 // one of tags, one of what they name
		return target
	})
}

// TestAutoFailsClosed: what does not answer is not taken for another kind, and is
// asked again.
func TestAutoFailsClosed(t *testing.T) {
	for name, broken := range map[string]struct {
		path   string
		answer http.HandlerFunc
		want   error
	}{
		"unavailable":          {"/v2/", status(http.StatusServiceUnavailable), ErrUnavailable},
		"no registry":          {"/v2/", status(http.StatusNotFound), ErrUnsupported},
		"API unavailable":      {"/api/v2.0/ping", status(http.StatusInternalServerError), ErrUnavailable},
		"API breaks off":       {"/api/v2.0/ping", breakOff, ErrUnavailable},
		"account is not known": {"/service/token", status(http.StatusUnauthorized), ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := registrytest.NewHarbor(t)
			cfg := harborConfig(h)
			cfg.Kind = KindAuto
			r := open(t, cfg)
			h.Intercept(func(registry http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == broken.path:
						broken.answer(w, r)
					case broken.path == "/service/token" && r.URL.Path == "/api/v2.0/ping": // then zot's is asked for
						http.NotFound(w, r)
					default:
						registry.ServeHTTP(w, r)
					}
				})
			})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // a busy machine may take a second for one answer
			defer cancel()
			for _, err := range r.Repositories(ctx) {
				if !errors.Is(err, broken.want) || errors.Is(err, ErrNotFound) {
					t.Errorf("repositories: %v, want %v", err, broken.want)
				}
			}
			again, cancel := context.WithTimeout(t.Context(), 2*time.Second) // a busy machine may take a second for one answer
			defer cancel()
			ended := false
			for a, err := range r.Artifacts(again, Query{Repository: "team/app"}) {
				if ended = true; !errors.Is(err, broken.want) || errors.Is(err, ErrNotFound) || a.Repository != "" {
					t.Errorf("artifacts: %v, want %v", err, broken.want)
				}
			}
			if !ended {
				t.Error("the listing of artifacts ended without an error")
			}
			if r.Untagged() == "" {
				t.Error("untagged artifacts are said to be seen")
			}
			h.Intercept(nil)
			if d, err := r.(Detector).Detected(t.Context()); d.Kind != KindHarbor || err != nil {
				t.Errorf("asked again: %+v, %v", d, err)
			}
		})
	}
}

// TestAutoAsksOnce: who lists at the same time shares what one finds out.
func TestAutoAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []string
		cfg := autoConfig("registry.example.com")
		cfg.Insecure = false
		cfg.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, r.URL.Path)
			code := http.StatusOK
			if r.URL.Path != "/v2/" {
				code = http.StatusNotFound
			}
			return &http.Response{StatusCode: code, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		})
		r := open(t, cfg)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := r.(Detector).Detected(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		slices.Sort(asked)
		if diff := cmp.Diff([]string{"/v2/", "/v2/", "/v2/_oci/ext/discover"}, asked); diff != "" { // one of them is the login's
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}
