package control

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
)

// TestPathsOfAPIs: each request goes to the API whose path it has, as it was sent, and
// what is no API's to the rest.
func TestPathsOfAPIs(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(name + " " + r.RequestURI)) })
	}
	d, err := door.New(door.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := Network(NetworkOptions{Events: named("events"), Engine: engine.New(engine.Options{}), Door: d, Log: zap.NewNop(),
		Health: NewHealth(HealthOptions{Dependencies: func() []engine.Dependency { return nil }, Log: zap.NewNop()}),
		APIs:   APIs{Own: named("own"), SWR: named("swr"), APIG: named("apig"), TCR: named("tcr"), OCI: named("oci")}})
	for path, want := range map[string]string{
		"/": "tcr", "/?Action=DescribeImages": "tcr", "/v2/p/instances/i/signature/policies": "swr", "/v2/p/instances": "swr",
		"/v2/p/instances/i/namespaces/a/repositories/x//y/../z/artifacts": "swr", "/v2/p/instances/i/namespaces/a%2Fb": "swr",
		"/v2/p/apigw/instances/i/signs": "apig", "/v2/p/apic/instances/i/signs": "events", "/20160918/container/imageSignatures": "oci",
		"/api/v1/policies": "own", "/api": "own", "/events/prod": "events", "/v2/p": "events", "/v2": "events", "/other": "events",
		"/v2/p/other/instances": "events", "/apiary": "events", "/policies/all/executions": "events", // not as at the control socket
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if got := w.Body.String(); got != want+" "+path {
			t.Errorf("%s went to %q, want %s", path, got, want)
		}
		if id := w.Header().Get("X-Request-Id"); (id != "") != (want == "events") { // APIs have their own
			t.Errorf("%s has the request id %q", path, id)
		}
	}
}
