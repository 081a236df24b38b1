package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// ecrConfig reaches e over loopback.
func ecrConfig(e *registrytest.ECR) Config {
	cfg := config(e.Registry.Host)
	cfg.Kind, cfg.API = KindECR, "http://"+e.API.Host
	cfg.Cloud = Cloud{Region: registrytest.ECRRegion, AccessKey: registrytest.ECRAccessKey, Secret: cloudSecret(registrytest.ECRSecretKey)}
	return cfg
}

const ecrHostName = registrytest.ECRAccount + ".dkr.ecr." + registrytest.ECRRegion + ".amazonaws.com"

// ecrAtHome reaches e by the names that AWS gives to its hosts.
func ecrAtHome(e *registrytest.ECR) Config {
	cfg := ecrConfig(e)
	cfg.Host, cfg.API, cfg.Insecure, cfg.Cloud.Region = ecrHostName, "", false, ""
	cfg.Transport = direct{ecrHostName: e.Registry, "api.ecr.eu-west-1.amazonaws.com": e.API}
	return cfg
}

func TestSuiteECR(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		e := registrytest.NewECR(t)
		cfg := ecrConfig(e)
		cfg.PageSize = 10
		target := suiteTarget(open(t, cfg), e.Registry)
		target.API, target.Untagged, target.PageSize = e.API, true, cfg.PageSize
		target.Fill = e.Fill
		target.Refuse = func(w http.ResponseWriter, _ *http.Request) {
			registrytest.ECRError(w, http.StatusBadRequest, "AccessDeniedException", "User: arn:aws:iam::1:user/u is not authorized to perform: ecr:DescribeImages")
		}
		target.Throttle = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			registrytest.ECRError(w, http.StatusBadRequest, "ThrottlingException", "Rate exceeded")
		}
		return target
	})
}

func TestECRTakesItsPlaceFromTheHost(t *testing.T) {
	for host, want := range map[string]ecrPlace{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":                {"123456789012", "eu-west-1", "https://api.ecr.eu-west-1.amazonaws.com"},
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":            {"123456789012", "cn-north-1", "https://api.ecr.cn-north-1.amazonaws.com.cn"},
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com":       {"123456789012", "us-gov-west-1", "https://ecr-fips.us-gov-west-1.amazonaws.com"},
		"123456789012.dkr-ecr.us-east-2.on.aws":                       {"123456789012", "us-east-2", "https://ecr.us-east-2.api.aws"},
		"123456789012.dkr-ecr-fips.us-east-2.on.aws":                  {"123456789012", "us-east-2", "https://ecr-fips.us-east-2.api.aws"},
		"123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn": {"123456789012", "cn-north-1", "https://ecr.cn-north-1.api.amazonwebservices.com.cn"},
	} {
		got, err := newECRPlace(Config{Host: host})
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", host, got, err, want)
		}
	}
	for _, host := range []string{
		"12345678901.dkr.ecr.eu-west-1.amazonaws.com", "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example", "registry.example",
		"x.123456789012.dkr.ecr.eu-west-1.amazonaws.com", "123456789012.dkr.ecr.eu.west.amazonaws.com",
	} {
		if got, err := newECRPlace(Config{Host: host}); err == nil {
			t.Errorf("%s: %+v", host, got)
		}
	}
}

func TestECRRefusesContradictorySettings(t *testing.T) {
	e := registrytest.NewECR(t)
	for want, spoil := range map[string]func(*Config){
		"cloud.region":               func(c *Config) { c.Cloud.Region = "" },
		"and api too":                func(c *Config) { c.API = "" },
		"access_key and secret_file": func(c *Config) { c.Cloud.Secret = nil },
		"config_file or profile":     func(c *Config) { c.Cloud.Profile = "p" },
		"scheme":                     func(c *Config) { c.Insecure = false },
	} {
		cfg := ecrConfig(e)
		spoil(&cfg)
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %s, got %v", want, err)
		}
	}
}

// A listing costs one request a page and none per artifact, by AWS's own names
// of hosts and over HTTPS.
func TestECRCosts(t *testing.T) {
	e := registrytest.NewECR(t)
	r := open(t, ecrAtHome(e))
	e.Fill(t, 2500)
	sent := counts(r)
	want(t, len(artifacts(t, r, Query{Repository: "team/many", Tags: always})), 2500, "artifacts")
	want(t, sent(), map[string]int64{"POST 200": 3}, "requests")
}

// What DescribeImages answers, as the reference of the API has it.
func TestECRAnswers(t *testing.T) {
	e := registrytest.NewECR(t)
	page, err := os.ReadFile("testdata/ecr/describe-images.json")
	if err != nil {
		t.Fatal(err)
	}
	cfg := ecrAtHome(e)
	cfg.Transport.(direct)["api.ecr.eu-west-1.amazonaws.com"] = jsonBody(string(page))
	l := open(t, cfg).(*listed).lister
	list, faults, end := entriesOf(t, l, "team/app", "")
	if end != nil {
		t.Fatal(end)
	}
	hash := func(c string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(c, 64)} }
	cursor := func(c string) string { return hash(c).String() + " " }
	want(t, list, []listedManifest{
		{Descriptor: Descriptor{Digest: hash("1"), MediaType: "application/vnd.docker.distribution.manifest.v2+json"}, Tags: []string{"v1.13.6", "latest"}, Cursor: cursor("1")},
		{Descriptor: Descriptor{Digest: hash("2"), MediaType: ociManifest}, ArtifactType: notationSignature, Cursor: cursor("2")},
		{Descriptor: Descriptor{Digest: hash("3"), MediaType: ociIndex}, Tags: []string{"multi"}, Cursor: cursor("3")},
		{Descriptor: Descriptor{Digest: hash("4")}, Tags: []string{"chart"}, Cursor: cursor("4")},
	}, "manifests")
	want(t, faults, []string{"invalid:sha256:short"}, "entries that are of no use")
}

func TestECRErrors(t *testing.T) {
	e := registrytest.NewECR(t)
	cfg := ecrAtHome(e)
	var answer http.HandlerFunc
	cfg.Transport.(direct)["api.ecr.eu-west-1.amazonaws.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) })
	l := open(t, cfg).(*listed).lister
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"no repository":    {400, `{"__type":"RepositoryNotFoundException","message":"gone"}`, ErrNotFound},
		"with a namespace": {400, `{"__type":"com.amazonaws.ecr#RepositoryNotFoundException:http://x/"}`, ErrNotFound},
		"denied":           {400, `{"__type":"AccessDeniedException","Message":"no"}`, ErrForbidden},
		"expired":          {400, `{"__type":"ExpiredTokenException"}`, ErrUnauthorized},
		"bad parameter":    {400, `{"__type":"InvalidParameterException"}`, ErrRejected},
		"a quota":          {400, `{"__type":"LimitExceededException"}`, ErrRejected},
		"no JSON":          {403, `<html>`, ErrForbidden},
		"redirect":         {307, ``, ErrRejected},
		"not JSON":         {200, `<html>`, ErrCorrupt},
		"another JSON":     {200, `{"imageDetails":{}}`, ErrCorrupt},
	} {
		answer = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}
		_, _, end := entriesOf(t, l, "team/app", "")
		wants(t, end, test.want, name)
	}
	_, _, end := entriesOf(t, l, "../app", "")
	wants(t, end, ErrCorrupt, "bad name")
}

// The registry's password lasts 12 hours and is replaced before it ends, in the
// middle of a walk.
func TestECRPasswordIsRenewedBeforeItEnds(t *testing.T) {
	e := registrytest.NewECR(t)
	synctest.Test(t, func(t *testing.T) {
		r := open(t, ecrAtHome(e))
		for i := range 30 {
			pushImage(t, r, "team/app", fmt.Sprintf("v%02d", i), fmt.Sprint(i))
		}
		n := 0
		for a, err := range r.Artifacts(t.Context(), Query{Repository: "team/app", Tags: always}) {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Resolve(t.Context(), "team/app", a.Tags[0]); err != nil {
				t.Fatalf("after %d artifacts: %v", n, err)
			}
			n++
			time.Sleep(time.Hour)
		}
		want(t, n, 30, "artifacts")
		want(t, e.Calls("GetAuthorizationToken"), 3, "logins in 30 hours")
	})
}

func TestECRPasswordIsRenewedOnceWhenRefused(t *testing.T) {
	e := registrytest.NewECR(t)
	r := open(t, ecrAtHome(e))
	m := pushImage(t, r, "team/app", "v1", "a")
	e.Revoke()
	sent := counts(r)
	if _, err := r.PutManifest(t.Context(), "team/app", "v2", m.MediaType, m.Raw); err != nil {
		t.Fatal(err)
	}
	want(t, sent(), map[string]int64{"PUT 401": 1, "POST 200": 1, "PUT 201": 1}, "requests")

	cfg := ecrAtHome(e)
	cfg.Transport.(direct)[ecrHostName] = status(http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="x"`)
	r = open(t, cfg)
	_, err := r.Resolve(t.Context(), "team/app", "v1")
	wants(t, err, ErrUnauthorized, "every password is refused")
	keepsSecret(t, err, "password-", base64.StdEncoding.EncodeToString([]byte("AWS:password"))[:12])
	want(t, r.Requests()[Request{Method: "HEAD", Status: "401"}], 2, "attempts")
}

// AWS's own credentials are replaced while a listing is under way.
func TestECRCredentialsAreReadAgain(t *testing.T) {
	e := registrytest.NewECR(t)
	var secret atomic.Value
	secret.Store(registrytest.ECRSecretKey)
	cfg := ecrConfig(e)
	cfg.PageSize = 10
	cfg.Cloud.Secret = func() ([]byte, error) { return []byte(secret.Load().(string)), nil }
	r := open(t, cfg)
	e.Fill(t, 50)
	n := 0
	sent := counts(r)
	for _, err := range r.Artifacts(t.Context(), Query{Repository: "team/many", Tags: always}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 25 {
			secret.Store("another secret of the same access key")
			e.Rotate(registrytest.ECRAccessKey, "another secret of the same access key", "")
		}
	}
	want(t, n, 50, "artifacts")
	want(t, sent(), map[string]int64{"POST 200": 5, "POST 400": 1}, "requests")

	e.Rotate(registrytest.ECRAccessKey, "a secret that nobody knows", "")
	sent()
	var end error
	for _, err := range r.Repositories(t.Context()) {
		end = err
	}
	wants(t, end, ErrUnauthorized, "credentials that are no good")
	keepsSecret(t, end, "another secret", "Canonical", "host:")
	want(t, sent(), map[string]int64{"POST 400": 1}, "attempts with credentials that did not change")
}

func TestECRSecretIsNotReadable(t *testing.T) {
	e := registrytest.NewECR(t)
	cfg := ecrConfig(e)
	failure := errors.New("tested")
	cfg.Cloud.Secret = func() ([]byte, error) { return nil, failure }
	r := open(t, cfg)
	for _, err := range r.Repositories(t.Context()) {
		wants(t, err, ErrUnauthorized, "listing")
	}
	_, err := r.Resolve(t.Context(), "app", "v1")
	wants(t, err, ErrUnauthorized, "resolving")
	want(t, e.Calls("DescribeRepositories"), 0, "requests")
}

// A profile of AWS's own file goes before the environment; a temporary one
// sends its session's token.
func TestECRConfigFile(t *testing.T) {
	withoutCloud(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKWRONG")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	e := registrytest.NewECR(t)
	e.Rotate("ASIATEMPORARY", "temporary secret", "session token")
	file := filepath.Join(t.TempDir(), "credentials")
	content := "[team]\naws_access_key_id = ASIATEMPORARY\naws_secret_access_key = temporary secret\naws_session_token = session token\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := ecrConfig(e)
	cfg.Cloud = Cloud{Region: registrytest.ECRRegion, ConfigFile: file, Profile: "team"}
	pushImage(t, open(t, cfg), "team/app", "v1", "a")
	want(t, e.Calls("GetAuthorizationToken"), 1, "logins")

	cfg.Cloud.Profile = "absent"
	_, err := open(t, cfg).Resolve(t.Context(), "team/app", "v1")
	wants(t, err, ErrUnauthorized, "no such profile")
	keepsSecret(t, err, "temporary secret", "session token")
}

// An instance's credentials come from its metadata, over plain HTTP although
// the registry has HTTPS, and count in the budget.
func TestECRInstanceCredentials(t *testing.T) {
	withoutCloud(t)
	e := registrytest.NewECR(t)
	e.Rotate("ASIAINSTANCE", "instance secret", "instance token")
	cfg := ecrAtHome(e)
	cfg.Cloud = Cloud{}
	cfg.Transport.(direct)["169.254.169.254"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			_, _ = io.WriteString(w, "imds")
		case "/latest/meta-data/iam/security-credentials/":
			_, _ = io.WriteString(w, "role")
		case "/latest/meta-data/iam/security-credentials/role":
			fmt.Fprintf(w, `{"Code":"Success","AccessKeyId":"ASIAINSTANCE","SecretAccessKey":"instance secret","Token":"instance token","Expiration":%q}`,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	})
	r := open(t, cfg)
	pushImage(t, r, "team/app", "v1", "a")
	want(t, r.Requests()[Request{Method: "PUT", Status: "200"}], 1, "metadata's token")

	delete(cfg.Transport.(direct), "169.254.169.254")
	_, err := open(t, cfg).Resolve(t.Context(), "team/app", "v1")
	wants(t, err, ErrUnauthorized, "no credentials at all")
	if !strings.Contains(err.Error(), "no metadata service") && !strings.Contains(err.Error(), "AWS credentials") {
		t.Errorf("it does not say why: %v", err)
	}
}

// Credentials that are configured for the registry are used for it.
func TestECRKeepsAConfiguredKeychain(t *testing.T) {
	e := registrytest.NewECR(t)
	cfg := ecrConfig(e)
	cfg.Keychain = Static("AWS", "a password from elsewhere")
	_, err := open(t, cfg).Resolve(t.Context(), "team/app", "v1")
	wants(t, err, ErrUnauthorized, "its own password")
	want(t, e.Calls("GetAuthorizationToken"), 0, "logins")
}

func TestECRPasswordsThatAreNone(t *testing.T) {
	e := registrytest.NewECR(t)
	for name, body := range map[string]string{
		"none":      `{"authorizationData":[]}`,
		"no base64": `{"authorizationData":[{"authorizationToken":"%"}]}`,
		"no colon":  `{"authorizationData":[{"authorizationToken":"` + base64.StdEncoding.EncodeToString([]byte("geheim")) + `"}]}`,
	} {
		cfg := ecrAtHome(e)
		cfg.Transport.(direct)["api.ecr.eu-west-1.amazonaws.com"] = jsonBody(body)
		_, err := open(t, cfg).Resolve(t.Context(), "team/app", "v1")
		wants(t, err, ErrUnauthorized, name)
		keepsSecret(t, err, "geheim", base64.StdEncoding.EncodeToString([]byte("geheim")))
	}
}

func TestECRCancelledLogin(t *testing.T) {
	e := registrytest.NewECR(t)
	cfg := ecrConfig(e)
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Cloud.Secret = func() ([]byte, error) {
		cancel()
		return []byte("x"), nil
	}
	_, err := open(t, cfg).Resolve(ctx, "team/app", "v1")
	wants(t, err, context.Canceled, "login")
}

func FuzzAWSDiagnose(f *testing.F) {
	f.Add([]byte(`{"__type":"com.amazonaws.ecr#RepositoryNotFoundException:http://x/","Message":"m"}`))
	f.Add([]byte(`{"code":"AccessDenied","message":"The Canonical String for this request should have been\nx"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, said := range awsDiagnose(raw) {
			if strings.Contains(said.Message, "The Canonical String") {
				t.Errorf("repeats the request: %q", said.Message)
			}
		}
		e := newResponseError(http.StatusBadRequest, awsDiagnose(raw))
		if strings.ContainsAny(e.Error(), "\n\r\x00") {
			t.Errorf("more than a line: %q", e.Error())
		}
	})
}
