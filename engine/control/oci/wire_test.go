package oci_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/controltest/wire"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/oci"
)

func wireRequest(w wire.Request) *http.Request {
	r := httptest.NewRequest(w.Method, w.URI, strings.NewReader(w.Body))
	for name, value := range w.Header {
		r.Header.Set(name, value)
	}
	r.Host = w.Header["Host"]
	r.Header.Del("Host")
	return r
}

// TestWire: what Oracle's SDK sent to another server is understood: who it is, and that
// its image is not here. A request that is sent twice in a second is a replay if it may
// change something.
func TestWire(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/wire-oci.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	all := wire.Read(t)
	var now atomic.Int64
	id := regexp.MustCompile(`keyId="([^"]+)"`).FindStringSubmatch(all[0].Header["Authorization"])[1]
	h := newHouse(t, controltest.Options{Clock: func() time.Time { return time.Unix(now.Load(), 0) },
		Credentials: []door.Credential{{Name: "wire", Role: door.Admin, OCIKeyID: id, OCIPublicKey: public.(*rsa.PublicKey)}}})
	handler := oci.New(oci.Options{Engine: h.Engine, Journal: h.Journal, Door: h.Door, Rights: h.Rights, Log: zap.NewNop()})
	var got []string
	for _, w := range all {
		at, err := http.ParseTime(w.Header["Date"])
		if err != nil {
			t.Fatal(err)
		}
		now.Store(at.Unix())
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, wireRequest(w))
		var body struct {
			Code  string
			Items []any
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
			t.Errorf("%s: %v", answer.Body, err)
		}
		if !strings.HasPrefix(answer.Header().Get("opc-request-id"), w.Header["Opc-Request-Id"]+"/") || len(body.Items) > 0 {
			t.Errorf("%v: %s", answer.Header(), answer.Body)
		}
		got = append(got, strings.TrimSpace(fmt.Sprint(w.Method, " ", answer.Code, " ", body.Code)))
	}
	want := []string{
		"POST 400 RelatedResourceNotAuthorizedOrNotFound", "POST 409 IncorrectState", "GET 404 NotAuthorizedOrNotFound", "POST 409 IncorrectState",
		"GET 200", "GET 400 InvalidParameter", "GET 200", // the second page is another server's
		"PUT 404 NotAuthorizedOrNotFound", "DELETE 404 NotAuthorizedOrNotFound", "DELETE 409 IncorrectState", "DELETE 404 NotAuthorizedOrNotFound",
		"GET 404 NotAuthorizedOrNotFound", "GET 401 NotAuthenticated",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
