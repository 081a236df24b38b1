package registrytest

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
)

// Before starts a Server that passes everything on to a registry that runs
// elsewhere, so that what is asked of a real one can be counted and answered
// otherwise. The registry is told the Host that the Server was asked for.
func Before(t testing.TB, registry *url.URL) *Server {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections) // when the Server is closed
	return start(t, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(registry)
			r.Out.Host = r.In.Host
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // whoever asked has gone, or sees it
	})
}
