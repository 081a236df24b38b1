package api_test

import (
	"crypto/sha256"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
)

// TestOtherSites: a browser that shows a client certificate by itself changes nothing for
// a page of another site.
func TestOtherSites(t *testing.T) {
	known := certificate(t)
	s := open(t, controltest.Options{Credentials: []door.Credential{{Name: "ops", Role: door.Admin, CertificateSHA256: sha256.Sum256(known.Certificate[0])}}})
	want[api.PolicyState](t, s.as(t, admin, http.MethodPost, "/policies", text(t, covering("x", controltest.Registry, "library"))), http.StatusCreated)
	server := httptest.NewUnstartedServer(s.api)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{known}
	defer transport.CloseIdleConnections()
	for what, c := range map[string]struct {
		method string
		header http.Header
		status int
	}{
		"another site's page":        {http.MethodPost, http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		"a sibling's page":           {http.MethodPost, http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"same-site"}}, http.StatusForbidden},
		"an old browser's":           {http.MethodPost, http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden},
		"a sandbox":                  {http.MethodPost, http.Header{"Origin": {"null"}}, http.StatusForbidden},
		"no browser":                 {http.MethodPost, nil, http.StatusOK},
		"a page of ours":             {http.MethodPost, http.Header{"Origin": {server.URL}, "Sec-Fetch-Site": {"same-origin"}}, http.StatusOK},
		"a look, whose answer stays": {http.MethodGet, http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, http.StatusOK},
	} {
		path := api.Prefix + "/policies/x"
		if c.method == http.MethodPost {
			path += "/disable"
		}
		req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range c.header {
			req.Header[name] = values
		}
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != c.status || c.status == http.StatusForbidden && resp.Header.Get("Content-Type") != "application/problem+json" ||
			resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %s, %v", what, resp.Status, resp.Header)
		}
	}
}
