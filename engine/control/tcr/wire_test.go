package tcr_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/controltest/wire"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/control/tcr"
)

// TestWire: what Tencent's SDK sent, in its order, is answered as the real API
// answers it, as far as that is known. The last ones are for Tencent's KMS.
func TestWire(t *testing.T) {
	t.Parallel()
	var now atomic.Pointer[time.Time]
	now.Store(&time.Time{})
	e := &estate{t: t, House: controltest.New(t, controltest.Options{Clock: func() time.Time { return *now.Load() },
		Aliases: []string{"08408a30-0416-11ed-abdc-52540036b432"},
		Credentials: []door.Credential{{Name: "tencent", Role: door.Admin, AccessKey: "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
			Secret: []byte("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE")}}})}
	e.Rights.Replace([]rights.Instance{{ID: "tcr-f7g1ir99", Registry: controltest.Registry}}, nil)
	e.push("library/nginx:latest")
	handler := tcr.New(tcr.Options{Engine: e.Engine, Door: e.Door, Rights: e.Rights, Log: zaptest.NewLogger(t)})
	want := []string{
		"", "", "", // created, read, created again
		"MissingParameter",                     // KmsId
		"ResourceNotFound.TcrResourceNotFound", // project
		"", "",                                 // signed by hand, read
		"", "", // deleted, and again with the same signature
		"AuthFailure.SignatureFailure",
	}
	for i, w := range wire.Read(t) {
		seconds, err := strconv.ParseInt(w.Header["X-Tc-Timestamp"], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(seconds, 0)
		now.Store(&at)
		r := httptest.NewRequest(w.Method, w.URI, strings.NewReader(w.Body))
		for name, value := range w.Header {
			r.Header.Set(name, value)
		}
		r.Host = r.Header.Get("Host")
		r.Header.Del("Host")
		if !tcr.Handles(r) {
			t.Errorf("request %d is not for this API", i)
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		code := "AuthFailure.InvalidAuthorization" // of another service
		if i < len(want) {
			code = want[i]
		}
		if got := codeOf(t, answer.Code, answer.Header(), answer.Body.Bytes()); got != code {
			t.Errorf("request %d, %s %s: %q, want %q", i, w.Header["X-Tc-Action"], w.Body, got, code)
		}
	}
}

// codeOf returns the code of a refusal, empty for a success, of an answer that must
// be as all of Tencent's are.
func codeOf(t *testing.T, status int, header http.Header, raw []byte) string {
	t.Helper()
	var body struct {
		Response struct {
			Error     struct{ Code, Message string }
			RequestID string `json:"RequestId"`
		}
	}
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %q", status, header.Get("Content-Type"))
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	if !requestID.MatchString(body.Response.RequestID) || (body.Response.Error.Code == "") != (body.Response.Error.Message == "") {
		t.Errorf("answer %s", raw)
	}
	return body.Response.Error.Code
}
