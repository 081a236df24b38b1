package registry

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

// The access key of the vendor's examples, which is none.
const (
	exampleAK = "QTWAOYTTINDUT2QVKYUC"
	exampleSK = "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
)

// swrAPI is an instance, and the configuration that finds it.
func swrAPI(t *testing.T, host string, c *registrytest.Contents) (*registrytest.Server, Config) {
	t.Helper()
	api := registrytest.SWRAPI{
		Project: "0123456789abcdef0123456789abcdef", Instance: "8d9b3f5e-0c3f-4d54-9b06-6a26f3e7a111",
		AccessKey: exampleAK, SecretKey: exampleSK,
	}
	s := registrytest.SWR(t, c, api)
	cfg := config(host)
	cfg.Kind, cfg.API = KindSWR, "http://"+s.Host
	cfg.Cloud = Cloud{Project: api.Project, Instance: api.Instance, AccessKey: exampleAK, Secret: secretOf(exampleSK)}
	return s, cfg
}

func TestSuiteSWR(t *testing.T) {
	registrytest.Suite(t, func(t *testing.T) *registrytest.SuiteTarget {
		s := registrytest.Memory(t)
		api, cfg := swrAPI(t, s.Host, registrytest.Watch(t, s))
		cfg.PageSize = 5
		r := open(t, cfg)
		target := suiteTarget(r, s)
		target.API, target.Untagged, target.PageSize = api, true, cfg.PageSize
		target.Fill = fillTags(s, "team/many", func() {
			r.(*listed).lister.(*swrLister).size, target.PageSize = swrPage, swrPage
		})
		target.Concerns = inNamespace("/namespaces/team/repositories/", "/artifacts")
		target.Refuse = func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error_code":"SVCSTG.SWR.4030170","error_msg":"no permission"}`))
		}
		return target
	})
}

// inNamespace reports whether a request is for what is listed of a repository of
// the namespace team.
func inNamespace(before, after string) func(*http.Request, string) bool {
	return func(r *http.Request, repository string) bool {
		name := strings.TrimPrefix(repository, "team/")
		return strings.Contains(strings.ReplaceAll(r.URL.Path, "%2F", "/"), before+name+after)
	}
}

// TestSDKHMAC: the examples of Huawei's documentation and of its Go SDK's tests,
// and a request that this SDK sent.
func TestSDKHMAC(t *testing.T) {
	t.Parallel()
	plainKey := cloudKey{id: "AccessKey", secret: "SecretKey"}
	docKey := cloudKey{id: exampleAK, secret: exampleSK}
	vpcs := "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0"
	for name, c := range map[string]struct {
		method, url, body, date string
		header                  [2]string
		signed                  []string
		key                     cloudKey
		want                    string
	}{
		"documentation": {
			url: vpcs, date: "20191115T033655Z", header: [2]string{"Content-Type", "application/json"}, key: docKey,
			signed: []string{"content-type", "host", "x-sdk-date"}, want: "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
		},
		"another day": {
			url: vpcs, date: "20190329T074551Z", header: [2]string{"Content-Type", "application/json"}, key: docKey,
			signed: []string{"x-sdk-date", "host", "content-type"}, want: "d66f6a6c536e984129e13a4060f465225909fd126d212cb25e9e292346aae036",
		},
		"sdk get": {
			url: "https://example.huaweicloud.com/path?limit=1", date: "20060102T150405Z", key: plainKey,
			signed: []string{"x-sdk-date"}, want: "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
		},
		"sdk post": {
			method: http.MethodPost, url: "https://example.huaweicloud.com/path?key=value", date: "20060102T150405Z", key: plainKey,
			body:   `{"Name":"test","Id":1}` + "\n",
			signed: []string{"x-sdk-date"}, want: "cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			method := c.method
			if method == "" {
				method = http.MethodGet
			}
			req, err := http.NewRequest(method, c.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Sdk-Date", c.date)
			if c.header[0] != "" {
				req.Header.Set(c.header[0], c.header[1])
			}
			_, signature, _ := strings.Cut(sdkAuthorization(req, []byte(c.body), c.key, c.signed), "Signature=")
			want(t, signature, c.want, "signature")
		})
	}
}

func TestSDKQuery(t *testing.T) {
	t.Parallel()
	req, err := http.NewRequest(http.MethodGet, "https://x/?test=%E4%B8%80+(%26%3D%3F!%23%25.*)&path=/tmp/123&multi=2&multi=1&multi=3&limit=1&enable=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, sdkQuery(req.URL.Query()),
		"enable=true&limit=1&multi=1&multi=2&multi=3&path=%2Ftmp%2F123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29", "query")
}

// TestSWRTemporaryKey: a temporary key's token is signed with the rest.
func TestSWRTemporaryKey(t *testing.T) {
	c := &registrytest.Contents{}
	api, cfg := swrAPI(t, "127.0.0.1:1", c)
	t.Setenv("HUAWEICLOUD_SDK_AK", exampleAK)
	t.Setenv("HUAWEICLOUD_SDK_SK", exampleSK)
	t.Setenv("HUAWEICLOUD_SDK_SECURITY_TOKEN", "token")
	t.Setenv("HUAWEICLOUD_SDK_PROJECT_ID", cfg.Cloud.Project)
	cfg.Cloud = Cloud{Instance: cfg.Cloud.Instance}
	var token string
	api.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Authorization"), "x-security-token") {
				token = r.Header.Get("X-Security-Token")
			}
			next.ServeHTTP(w, r)
		})
	})
	for _, err := range open(t, cfg).Repositories(t.Context()) {
		t.Error(err)
	}
	want(t, token, "token", "signed token")
}

// TestSWRRotatedKey: the secret is read anew for each request, and a wrong one is
// refused without being named.
func TestSWRRotatedKey(t *testing.T) {
	t.Parallel()
	_, cfg := swrAPI(t, "127.0.0.1:1", &registrytest.Contents{})
	secret := "wrong-secret"
	cfg.Cloud.Secret = func() ([]byte, error) { return []byte(secret), nil }
	r := open(t, cfg)
	var refusal error
	for _, err := range r.Repositories(t.Context()) {
		refusal = err
	}
	if !errors.Is(refusal, ErrUnauthorized) || !strings.Contains(refusal.Error(), "APIGW.0301") || strings.Contains(refusal.Error(), secret) {
		t.Errorf("wrong secret: %v", refusal)
	}
	secret = exampleSK
	for _, err := range r.Repositories(t.Context()) {
		t.Error(err)
	}
	secret = " "
	for _, err := range r.Repositories(t.Context()) {
		if !errors.Is(err, ErrUnauthorized) {
			t.Errorf("empty secret: %v", err)
		}
	}
}

// TestSWRConfiguration: everything that is wrong is said at once.
func TestSWRConfiguration(t *testing.T) {
	for _, name := range []string{"HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_PROJECT_ID"} {
		t.Setenv(name, "")
	}
	cfg := config("127.0.0.1:1")
	cfg.Kind = KindSWR
	_, err := Open(cfg)
	for _, field := range []string{"cloud.region", "cloud.project", "cloud.instance", "HUAWEICLOUD_SDK_AK"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not in %v", field, err)
		}
	}
	cfg.Cloud = Cloud{Region: "cn-north-4", Project: "p", Instance: "i", AccessKey: "a"}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "secret_file") {
		t.Errorf("half a key: %v", err)
	}
	cfg.Cloud.Secret = secretOf("s")
	for region, host := range map[string]string{"cn-north-4": "swr-api.cn-north-4.myhuaweicloud.com", "eu-west-101": "swr-api.eu-west-101.myhuaweicloud.eu"} {
		cfg.Cloud.Region = region
		r, ok := open(t, cfg).(*listed)
		if !ok || r.lister.(*swrLister).api.base.String() != "https://"+host {
			t.Errorf("%s: %+v", region, r)
		}
	}
	for api, secret := range map[string]string{"http://swr.example.com": "", "https://u:hunter2@swr.example.com": "hunter2", "swr.example.com": ""} {
		cfg.API, cfg.Insecure = api, false
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "api: ") || secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", api, err)
		}
	}
}

// FuzzSWRArtifacts: whatever an API answers, a listing ends.
func FuzzSWRArtifacts(f *testing.F) {
	f.Add(`{"artifacts":[{"digest":"sha256:`+strings.Repeat("1", 64)+`","manifest_media_type":"`+ociManifest+`","tags":[{"name":"v1"}]}],"total":1}`, http.StatusOK)
	f.Add(`{"artifacts":[{"digest":"sha256:1"},{"digest":""}],"total":7}`, http.StatusOK)
	f.Add(`{"artifacts":null,"total":-1}`, http.StatusOK)
	f.Add(`{"error_code":"SVCSTG.SWR.4040010","error_msg":"\u001b[31m"}`, http.StatusNotFound)
	f.Add(`{"errors":[{"errorCode":"APIGW.0301","errorMessage":"x"}]}`, http.StatusUnauthorized)
	f.Add(`[]`, http.StatusOK)
	f.Fuzz(func(t *testing.T, body string, code int) {
		if code < 200 || code > 404 || code >= 300 && code < 400 {
			code = http.StatusOK
		}
		api := answering(t, body, code)
		api.diagnose = swrDiagnostics
		lister := &swrLister{api: api, said: "registry", size: 2, instance: []string{"v2", "p", "instances", "i"}}
		drain(t, lister.manifests(t.Context(), "team/app", ""))
		for range lister.repositories(t.Context()) {
			continue
		}
	})
}
