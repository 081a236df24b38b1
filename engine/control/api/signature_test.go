package api_test

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	sdk "github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"

	"github.com/sealwright/sealwright/engine/control/api"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/journal"
)

// signed returns a request as the signer of Huawei's SDK signs it.
func (s *site) signed(t *testing.T, method, path, body, accessKey, secret string, at time.Time) *http.Request {
	t.Helper()
	u, err := url.Parse(s.url + api.Prefix + path)
	if err != nil {
		t.Fatal(err)
	}
	b := sdk.NewHttpRequestBuilder().WithMethod(method).WithEndpoint(s.url).WithPath(u.Path).AddHeaderParam("X-Sdk-Date", at.UTC().Format("20060102T150405Z"))
	for name, values := range u.Query() {
		b.AddQueryParam(name, reflect.ValueOf(values))
	}
	if body != "" {
		b.WithBody("body", body).AddHeaderParam("Content-Type", "application/json")
	}
	built := b.Build()
	added, err := signer.Sign(built, accessKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []map[string]string{built.GetHeaderParams(), added} {
		for name, value := range header {
			req.Header.Set(name, value)
		}
	}
	return req
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// TestSignatureKeys: who has an access key signs requests of the API as Huawei's SDK
// does, with its own role, and each change once.
func TestSignatureKeys(t *testing.T) {
	s := open(t, controltest.Options{})
	now := time.Now()
	create := s.signed(t, http.MethodPost, "/policies", text(t, covering("signed", controltest.Registry, "library")), controltest.AdminKey, controltest.AdminSecret, now)
	again := create.Clone(t.Context())
	again.Body, _ = create.GetBody()
	if got := want[api.PolicyState](t, do(t, create), http.StatusCreated); got.Creator != "admin" {
		t.Errorf("created by %q", got.Creator)
	}
	refused(t, do(t, again), http.StatusUnauthorized)
	if got := want[list[api.PolicyState]](t, do(t, s.signed(t, http.MethodGet, "/policies?limit=1&registry=prod", "", controltest.ViewerKey, controltest.ViewerSecret, now)), http.StatusOK); len(got.Items) != 1 {
		t.Errorf("%d policies", len(got.Items))
	}
	x := want[journal.Execution](t, do(t, s.signed(t, http.MethodPost, "/policies/signed/fire", "", controltest.OperatorKey, controltest.OperatorSecret, now)), http.StatusAccepted)
	s.Await(t, x.ID)
	for what, c := range map[string]struct {
		req    *http.Request
		status int
	}{
		"the role of the key": {s.signed(t, http.MethodPost, "/policies/signed/fire", "", controltest.ViewerKey, controltest.ViewerSecret, now), http.StatusForbidden},
		"a wrong secret":      {s.signed(t, http.MethodGet, "/policies", "", controltest.ViewerKey, controltest.AdminSecret, now), http.StatusUnauthorized},
		"a stale clock":       {s.signed(t, http.MethodGet, "/policies", "", controltest.ViewerKey, controltest.ViewerSecret, now.Add(-16*time.Minute)), http.StatusUnauthorized},
		"another tenant":      {s.signed(t, http.MethodGet, "/policies/signed", "", controltest.StrangerKey, controltest.StrangerSecret, now), http.StatusNotFound},
	} {
		t.Run(what, func(t *testing.T) { refused(t, do(t, c.req), c.status) })
	}
	both := s.signed(t, http.MethodGet, "/policies", "", controltest.ViewerKey, controltest.ViewerSecret, now)
	both.Header.Set("X-Auth-Token", viewer)
	refused(t, do(t, both), http.StatusBadRequest)
}
