package control_test

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	apigmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/apig/v2/model"
	swrmodel "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/oracle/oci-go-sdk/v65/artifacts"
	ocicommon "github.com/oracle/oci-go-sdk/v65/common"
	tcerrors "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealwright/sealwright/engine/control"
	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/control/swr"
	"github.com/sealwright/sealwright/engine/control/tcr"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// The tokens of who may do the same as others.
const adminsTwin, strangersTwin = "twin-token-0123456789-0123456789-0123456789", "twin-token-9876543210-9876543210-9876543210"

// A gallery is all APIs behind one address.
type gallery struct {
	*controltest.House
	controltest.Vendors
	logs   *observer.ObservedLogs
	oracle controltest.OracleKey // of a viewer
	ahead  atomic.Int64          // turns and slots that are taken or waited for, for which the engine gives way
	gave   atomic.Int64          // how often it did
}

// slots is how many requests to our own API are worked on at once in a gallery.
const slots = 4

// newGallery serves all APIs behind front.
func newGallery(t *testing.T, front func(http.Handler) http.Handler) *gallery {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	g := &gallery{logs: logs, oracle: controltest.NewOracleKey(t)}
	block, _ := pem.Decode(g.oracle.PublicPEM)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	m := control.NewMetrics()
	g.House = controltest.New(t, controltest.Options{Rights: rights.Options{Log: zap.New(core), Answered: m.Answered,
		Slots: slots, GiveWay: func() func() { g.ahead.Add(1); g.gave.Add(1); return func() { g.ahead.Add(-1) } }},
		Credentials: []door.Credential{{Name: "oci viewer", Role: door.Viewer, OCIKeyID: g.oracle.ID, OCIPublicKey: public.(*rsa.PublicKey)},
			{Name: "admin's twin", Role: door.Admin, TokenSHA256: sha256.Sum256([]byte(adminsTwin))},
			{Name: "stranger's twin", Role: door.Admin, TokenSHA256: sha256.Sum256([]byte(strangersTwin)), Registries: []string{controltest.Other}, Keys: []string{controltest.Key, controltest.RSAKey}}}})
	seal, err := apig.NewSeal(make([]byte, apig.SealSize))
	if err != nil {
		t.Fatal(err)
	}
	log := zap.NewNop()
	health := control.NewHealth(control.HealthOptions{Dependencies: g.Engine.Dependencies, Log: log})
	own := api.New(api.Options{Engine: g.Engine, Journal: g.Journal, Rights: g.Rights, Door: g.Door, Log: log, Health: health})
	t.Cleanup(own.Drain)
	g.URL = g.Serve(t, front(control.Network(control.NetworkOptions{Events: http.NotFoundHandler(), Health: health, Engine: g.Engine, Door: g.Door, Rights: g.Rights,
		Collectors: []prometheus.Collector{m}, APIs: control.APIs{
			Own:  own,
			SWR:  swr.New(swr.Options{Engine: g.Engine, Journal: g.Journal, Door: g.Door, Rights: g.Rights, Log: log}),
			TCR:  tcr.New(tcr.Options{Engine: g.Engine, Door: g.Door, Rights: g.Rights, Log: log}),
			OCI:  oci.New(oci.Options{Engine: g.Engine, Journal: g.Journal, Door: g.Door, Rights: g.Rights, Log: log}),
			APIG: apig.New(apig.Options{Journal: g.Journal, Door: g.Door, Rights: g.Rights, Log: log, Seal: seal, APIs: func(string) []apig.API { return nil }}),
		}})))
	return g
}

// ask sends a request, signed by an access key unless that is empty, n times, and
// returns the last answer.
func (g *gallery) ask(t *testing.T, n int, method, path, accessKey, secret string, header http.Header) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	if accessKey != "" {
		if err := door.SignSDKHMAC(req, nil, door.SDKKey{AccessKey: accessKey, Secret: []byte(secret)}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		status, body = resp.StatusCode, string(raw)
	}
	return status, body
}

// TestRefusedCallers: whatever the API, who is refused is counted and logged; and what
// it wanted to change is in the audit log.
func TestRefusedCallers(t *testing.T) {
	g := newGallery(t, func(h http.Handler) http.Handler { return h })
	const admin, viewer, stranger = controltest.AdminKey, controltest.ViewerKey, controltest.StrangerKey
	instance := "/v2/p/instances/" + controltest.Instance
	one := instance + "/namespaces/team/signature/policies/1"
	signs := "/v2/p/apigw/instances/" + controltest.Registry + "/signs"
	token := func(t string) http.Header { return http.Header{"X-Auth-Token": {t}} }
	g.ask(t, 1, http.MethodGet, instance+"/signature/policies", viewer, "wrong", nil)
	if n := g.gave.Load(); n != 0 {
		t.Errorf("the engine gave way %d times to strangers", n)
	}
	g.ask(t, 1, http.MethodDelete, one, viewer, controltest.ViewerSecret, nil)
	g.ask(t, 1, http.MethodDelete, one, stranger, controltest.StrangerSecret, nil)
	g.ask(t, 2, http.MethodDelete, one, admin, controltest.AdminSecret, nil)
	g.ask(t, 1, http.MethodGet, "/v2/p/instances/x/no-such-thing", "", "", nil)
	g.ask(t, 1, http.MethodGet, signs, "", "", token("wrong"))
	g.ask(t, 1, http.MethodPost, signs, viewer, controltest.ViewerSecret, nil)
	g.ask(t, 1, http.MethodGet, "/api/v1/policies", "", "", token("wrong"))
	g.ask(t, 1, http.MethodDelete, "/api/v1/policies/1", "", "", token(controltest.ViewerToken))
	g.ask(t, 1, http.MethodPost, "/api/v1/policies/secret/fire", "", "", token(controltest.StrangerToken))
	g.ask(t, 1, http.MethodGet, "/metrics", "", "", token("wrong"))
	for _, c := range [][2]string{{viewer, "wrong"}, {viewer, controltest.ViewerSecret}, {stranger, controltest.StrangerSecret}} {
		if err := g.TCR(c[0], c[1]).Call("DeleteSignaturePolicy", map[string]any{"RegistryId": controltest.Instance, "NamespaceName": "team"}, nil); err == nil {
			t.Errorf("%s was not refused", c[0])
		}
	}
	id := "ocid1.containerimagesignature.oc1..x"
	for _, key := range []controltest.OracleKey{g.oracle, controltest.NewOracleKey(t)} {
		if _, err := g.Oracle(t, key).DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: &id}); err == nil {
			t.Errorf("%s was not refused", key.ID)
		}
	}
	var said []string
	for _, l := range g.logs.FilterMessage("caller refused").All() {
		f := l.ContextMap()
		said = append(said, fmt.Sprint(f["api"], " ", f["operation"], " ", f["reason"], " ", f["caller"]))
		if f["from"] == "" || f["request"] == "" {
			t.Errorf("%v", f)
		}
	}
	if d := cmp.Diff([]string{
		"swr ListInstanceSignPolicies wrong_signature <nil>", "swr DeleteInstanceSignPolicy role viewer", "swr DeleteInstanceSignPolicy not_found stranger",
		"swr DeleteInstanceSignPolicy replayed admin", "apig ListSignatureKeysV2 unknown_credential <nil>", "apig CreateSignatureKeyV2 role viewer",
		"api list-policies unknown_credential <nil>", "api delete-policy role viewer", "api fire-policy not_found stranger", "metrics metrics unknown_credential <nil>",
		"tcr DeleteSignaturePolicy wrong_signature <nil>", "tcr DeleteSignaturePolicy role viewer", "tcr DeleteSignaturePolicy not_found stranger",
		"oci DeleteContainerImageSignature role oci viewer", "oci DeleteContainerImageSignature unknown_credential <nil>",
	}, said); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"viewer swr " + one + " role", "stranger swr " + one + " not_found",
		"admin swr " + one + " not_found", "admin swr " + one + " replayed", "viewer apig " + signs + " role",
		"viewer api /api/v1/policies/1 role", "stranger api /api/v1/policies/secret/fire not_found",
		"viewer tcr " + controltest.Instance + "/team role", "stranger tcr " + controltest.Instance + "/team not_found",
		"oci viewer oci /20160918/container/imageSignatures/ocid1.containerimagesignature.oc1..x role"}, g.refusals(t)); d != "" {
		t.Error(d)
	}
	_, text := g.ask(t, 1, http.MethodGet, "/metrics", "", "", token(controltest.AdminToken))
	for _, line := range []string{
		`{api="swr",code="401",operation="ListInstanceSignPolicies"} 1`, `{api="swr",code="403",operation="DeleteInstanceSignPolicy"} 1`, `{api="swr",code="404",operation="other"} 1`,
		`{api="apig",code="403",operation="CreateSignatureKeyV2"} 1`, `{api="api",code="401",operation="list-policies"} 1`,
		`{api="tcr",code="AuthFailure.SignatureFailure",operation="DeleteSignaturePolicy"} 1`, `{api="oci",code="401",operation="DeleteContainerImageSignature"} 1`,
		`{api="metrics",code="401",operation="metrics"} 1`,
	} {
		if !strings.Contains(text, "sealwright_api_requests_total"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
}

// TestUnreadChanges: a change is in the audit log, too, if its body was not even read, or a
// page of another site had a browser ask for it.
func TestUnreadChanges(t *testing.T) {
	g := newGallery(t, func(h http.Handler) http.Handler { return h })
	huge := strings.Repeat("x", 1<<20+1)
	swrPath, apigPath := "/v2/p/instances/"+controltest.Instance+"/namespaces/team/signature/policies", "/v2/p/apigw/instances/"+controltest.Registry+"/signs"
	for _, c := range []struct {
		path, body string
		header     http.Header
	}{{"/api/v1/policies", huge, nil}, {swrPath, huge, nil}, {apigPath, huge, nil}, {"/api/v1/policies", "{}", http.Header{"Sec-Fetch-Site": {"cross-site"}}}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"X-Auth-Token": {controltest.AdminToken}, "Content-Type": {"application/json"}}
		maps.Copy(req.Header, c.header)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("%s: %s", c.path, resp.Status)
		}
	}
	if d := cmp.Diff([]string{"admin api /api/v1/policies too_large", "admin swr " + swrPath + " too_large", "admin apig " + apigPath + " too_large",
		"admin api /api/v1/policies origin"}, g.refusals(t)); d != "" {
		t.Error(d)
	}
}

// TestTurnsOfAllAPIs: whatever the API, who has to do with the journal waits while others
// have, and the engine gives way to all of them; who asks a registry does not wait.
func TestTurnsOfAllAPIs(t *testing.T) {
	g := newGallery(t, func(h http.Handler) http.Handler { return h })
	leave := g.TakeTurns(t)
	swrClient, apigClient, oracle := g.SWR(t, controltest.AdminKey, controltest.AdminSecret), g.APIG(t, controltest.AdminKey, controltest.AdminSecret), g.Oracle(t, g.oracle)
	compartment := controltest.Registry
	reads := map[string]func() error{
		"swr": func() error {
			_, err := swrClient.ListInstanceSignPolicies(&swrmodel.ListInstanceSignPoliciesRequest{InstanceId: controltest.Instance})
			return err
		},
		"apig": func() error {
			_, err := apigClient.ListSignatureKeysV2(&apigmodel.ListSignatureKeysV2Request{InstanceId: controltest.Registry})
			return err
		},
		"oci": func() error {
			_, err := oracle.ListContainerImageSignatures(context.Background(), artifacts.ListContainerImageSignaturesRequest{CompartmentId: &compartment})
			return err
		},
		"tcr": func() error {
			return g.TCR(controltest.AdminKey, controltest.AdminSecret).Call("DescribeInstances", map[string]any{}, nil)
		},
		"own": func() error {
			if status, body := g.ask(t, 1, http.MethodGet, "/api/v1/policies", controltest.AdminKey, controltest.AdminSecret, nil); status != http.StatusOK {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		},
	}
	var asked sync.WaitGroup
	var answered atomic.Int64
	for name, read := range reads {
		asked.Go(func() {
			if err := read(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			answered.Add(1)
		})
	}
	const slot = 1 // of who asks our own API
	registrytest.Eventually(t, time.Minute, "all wait", func() bool { return g.ahead.Load() == rights.JournalTurns+slot+int64(len(reads)) })
	policy := map[string]any{"RegistryId": controltest.Instance, "Name": "signed", "NamespaceName": "team", "KmsId": controltest.KeyAlias, "KmsRegion": "ap-guangzhou", "Domain": ""}
	g.Server.Push(t, "team/app:v1", registrytest.Image(t))
	for action, parameters := range map[string]map[string]any{"DescribeNamespaces": {"RegistryId": controltest.Instance}, "CreateSignaturePolicy": policy} {
		if err := g.TCR(controltest.AdminKey, controltest.AdminSecret).Call(action, parameters, nil); err != nil || answered.Load() != 0 {
			t.Errorf("who asks a registry, %s: %v; %d others were answered before", action, err, answered.Load())
		}
	}
	leave()
	asked.Wait()
	if n := g.ahead.Load(); n != 0 {
		t.Errorf("the engine gives way to %d still", n)
	}
}

// TestTurnedAway: there is no room, and each vendor's SDK is told so as the vendor would.
func TestTurnedAway(t *testing.T) {
	g := newGallery(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, door.TurnAway(r)) })
	})
	huawei := func(err error) string {
		if e := (*sdkerr.ServiceResponseError)(nil); errors.As(err, &e) && e.RequestId != "" {
			return fmt.Sprint(e.StatusCode, " ", e.ErrorCode)
		}
		return fmt.Sprint(err)
	}
	_, ofSWR := g.SWR(t, controltest.AdminKey, controltest.AdminSecret).ListInstanceSignPolicies(&swrmodel.ListInstanceSignPoliciesRequest{InstanceId: controltest.Instance})
	_, ofAPIG := g.APIG(t, controltest.AdminKey, controltest.AdminSecret).ListSignatureKeysV2(&apigmodel.ListSignatureKeysV2Request{InstanceId: controltest.Registry})
	ofTCR := g.TCR(controltest.AdminKey, controltest.AdminSecret).Call("DescribeInstances", map[string]any{}, nil)
	id, said, once := "ocid1.containerimagesignature.oc1..x", "", ocicommon.NoRetryPolicy() // it would try again, for minutes
	_, ofOCI := g.Oracle(t, g.oracle).DeleteContainerImageSignature(t.Context(), artifacts.DeleteContainerImageSignatureRequest{ImageSignatureId: &id,
		RequestMetadata: ocicommon.RequestMetadata{RetryPolicy: &once}})
	if e, ok := ocicommon.IsServiceError(ofOCI); ok && e.GetOpcRequestID() != "" {
		said = fmt.Sprint(e.GetHTTPStatusCode(), " ", e.GetCode())
	}
	code := ""
	if e := (*tcerrors.TencentCloudSDKError)(nil); errors.As(ofTCR, &e) && e.RequestId != "" {
		code = e.Code
	}
	status, own := g.ask(t, 1, http.MethodGet, "/api/v1/policies", controltest.AdminKey, controltest.AdminSecret, nil)
	other, health := g.ask(t, 1, http.MethodGet, "/healthz", "", "", nil)
	if d := cmp.Diff([]string{"429 APIGW.0308", "429 APIG.0308", "RequestLimitExceeded", "429 TooManyRequests"}, []string{huawei(ofSWR), huawei(ofAPIG), code, said}); d != "" {
		t.Errorf("%s\n%v, %v", d, ofTCR, ofOCI)
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(own, `"request_id":"`) || other != http.StatusServiceUnavailable || !strings.Contains(health, "too many requests") {
		t.Errorf("%d %s, %d %s", status, own, other, health)
	}
}

// refusals are those of the audit log, the oldest first.
func (g *gallery) refusals(t *testing.T) []string {
	t.Helper()
	entries, err := g.Journal.AuditEntries(t.Context(), journal.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range slices.Backward(entries) {
		if refused, ok := strings.CutPrefix(e.Outcome, "refused: "); ok {
			list = append(list, e.Caller+" "+e.API+" "+e.Target+" "+refused)
		}
	}
	return list
}
