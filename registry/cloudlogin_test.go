package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// direct answers requests by host without a network, so that a test can have
// hosts as clouds name them, and its own time.
type direct map[string]http.Handler

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	handler := d[req.URL.Host]
	if handler == nil {
		return nil, fmt.Errorf("nobody is at %s", req.URL.Host)
	}
	in := req.Clone(req.Context())
	in.RequestURI, in.Host = req.URL.RequestURI(), req.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, in)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := answer.Result()
	resp.Request, resp.ContentLength = req, int64(answer.Body.Len())
	return resp, nil
}

// withoutCloud hides what the machine has of credentials from a test.
func withoutCloud(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID",
		"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "MSI_ENDPOINT",
	} {
		t.Setenv(name, "")
	}
}

// keepsSecret fails if an error says a secret.
func keepsSecret(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error says %q: %v", secret, err)
		}
	}
}

func cloudSecret(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text + "\n"), nil }
}

func TestCloudKeychainAsksOnceForAll(t *testing.T) {
	var asked atomic.Int64
	k := newCloudKeychain("a cloud", func(context.Context, bool) (authn.AuthConfig, time.Time, error) {
		asked.Add(1)
		return authn.AuthConfig{Username: "u", Password: "p"}, time.Time{}, nil
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := k.Resolve(nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want(t, asked.Load(), 1, "logins")
}

func TestCloudKeychainRenewsInTimeAndWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []bool
		k := newCloudKeychain("a cloud", func(_ context.Context, anew bool) (authn.AuthConfig, time.Time, error) {
			asked = append(asked, anew)
			return authn.AuthConfig{Password: fmt.Sprint(len(asked))}, time.Now().Add(time.Hour), nil
		})
		resolve := func() *temporary {
			t.Helper()
			a, err := authn.Resolve(t.Context(), k, nil)
			if err != nil {
				t.Fatal(err)
			}
			return a.(*temporary)
		}
		first := resolve()
		time.Sleep(53 * time.Minute)
		want(t, resolve().config.Password, "1", "before nine tenths of its life")
		time.Sleep(2 * time.Minute)
		second := resolve()
		want(t, second.config.Password, "2", "after")
		first.drop() // late news of what is no longer used
		want(t, resolve().config.Password, "2", "after the news that the first was refused")
		second.drop()
		want(t, resolve().config.Password, "3", "after the second was refused")
		want(t, asked, []bool{false, false, true}, "logins, and whether anew")
	})
}

func TestCloudKeychainRemembersNoFailure(t *testing.T) {
	failure := errors.New("tested")
	fails := true
	k := newCloudKeychain("a cloud", func(context.Context, bool) (authn.AuthConfig, time.Time, error) {
		if fails {
			return authn.AuthConfig{}, time.Time{}, failure
		}
		return authn.AuthConfig{Password: "p"}, time.Time{}, nil
	})
	if _, err := k.Resolve(nil); !errors.Is(err, failure) {
		t.Fatalf("got %v", err)
	}
	fails = false
	if _, err := k.Resolve(nil); err != nil {
		t.Fatal(err)
	}
}

// Plain HTTP is for metadata alone, and only for logins.
func TestPlainHTTPIsForMetadataAlone(t *testing.T) {
	t.Setenv("GCE_METADATA_HOST", "metadata.example:8080")
	c := client(t, Config{Name: "test", Host: "registry.example", Transport: direct{}})
	login := c.transport.limited(1)
	login.local = true
	for at, allowed := range map[string]bool{
		"http://169.254.169.254/latest": true, "http://169.254.170.2/v2": true, "http://[fd00:ec2::254]/latest": true,
		"http://127.0.0.1:1/": true, "http://[::1]/": true, "http://localhost:1/": true, "http://metadata.google.internal/": true,
		"http://metadata.example:8080/": true, "https://sts.example/": true,
		"http://sts.example/": false, "http://10.0.0.1/": false, "http://registry.example/": false, "http://127.0.0.1.example/": false,
		"ftp://127.0.0.1/": false, "http://user:pw@127.0.0.1/": false,
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
		want(t, login.permitted(req.URL) == nil, allowed, at+" for a login")
		if req.URL.Scheme == "http" && c.transport.permitted(req.URL) == nil {
			t.Errorf("%s is permitted for others", at)
		}
	}
}

// Where no metadata is, a login ends soon, and says so.
func TestMetadataIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		c := client(t, Config{Name: "test", Host: "registry.example", Transport: direct{"169.254.169.254": silent}})
		start := time.Now()
		for _, host := range []string{"169.254.169.254", "169.254.170.2"} {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", nil)
			req.RequestURI = ""
			resp, err := newLoginClient(c.transport).Do(req)
			discard(resp)
			wants(t, err, ErrUnauthorized, host)
		}
		if took := time.Since(start); took > 2*metadataTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestTokenPagesGoRoundInACircle(t *testing.T) {
	for name, pages := range map[string]map[string]string{
		"to itself":     {"": "a", "a": "a"},
		"to the first":  {"": "a", "a": "b", "b": "a"},
		"far behind it": {"": "a", "a": "b", "b": "c", "c": "d", "d": "e", "e": "c"},
	} {
		var last error
		for _, err := range tokenPages(t.Context(), "", func(_ context.Context, token string) ([]int, string, error) {
			return []int{1}, pages[token], nil
		}) {
			last = err
		}
		wants(t, last, ErrCorrupt, name)
	}
	n := 0
	var last error
	for _, err := range tokenPages(t.Context(), "", func(context.Context, string) ([]int, string, error) {
		n++
		return nil, fmt.Sprint(n), nil
	}) {
		last = err
	}
	wants(t, last, ErrCorrupt, "empty pages without an end")
}

func TestTokenManifestsContinue(t *testing.T) {
	digest := func(c byte) string { return "sha256:" + strings.Repeat(string(c), 64) }
	pages := map[string][]byte{"": []byte("135"), "next": []byte("246")}
	asked := []string{}
	fetch := func(_ context.Context, token string) (list []listedEntry, next string, err error) {
		asked = append(asked, token)
		if pages[token] == nil {
			return nil, "", fmt.Errorf("token: %w", ErrRejected)
		}
		for _, c := range pages[token] {
			list = append(list, newListedEntry(digest(c), ociManifest, "", nil))
		}
		return list, map[string]string{"": "next"}[token], nil
	}
	for _, test := range []struct {
		after string
		want  string
		asked []string
	}{
		{"", "135246", []string{"", "next"}},
		{digest('3') + " ", "5246", []string{"", "next"}},
		{digest('2') + " next", "46", []string{"next"}},
		{digest('6') + " next", "", []string{"next"}},
		{digest('9') + " next", "246", []string{"next"}},                      // gone
		{digest('2') + " expired", "135246", []string{"expired", "", "next"}}, // from the beginning
	} {
		asked = []string{}
		var got []byte
		for m, err := range tokenManifests(t.Context(), test.after, fetch) {
			if err != nil {
				t.Fatalf("%q: %v", test.after, err)
			}
			got = append(got, m.Digest.Hex[0])
		}
		want(t, string(got), test.want, "after "+test.after)
		want(t, asked, test.asked, "pages asked for after "+test.after)
	}
}

// entriesOf collects a listing with its own errors.
func entriesOf(t *testing.T, l manifestLister, repository, after string) (list []listedManifest, faults []string, end error) {
	t.Helper()
	for m, err := range l.manifests(t.Context(), repository, after) {
		switch {
		case err == nil:
			list = append(list, m)
		case m.Digest.Hex == "":
			end = err
		default:
			faults = append(faults, m.Digest.String())
		}
	}
	slices.Sort(faults)
	return list, faults, end
}
