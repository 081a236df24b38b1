package swr

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	sdk "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/sealwright/sealwright/engine/control/controltest"
)

const project = controltest.Project

// A house is what the tests call: the API, served on loopback.
type house struct {
	*controltest.House
	api *API
	url string // of the instance
	at  string // of the server
}

func open(t *testing.T, o controltest.Options) *house {
	t.Helper()
	if o.Rights.Burst == 0 {
		o.Rights.PerSecond, o.Rights.Burst = 10000, 10000
	}
	h := &house{House: controltest.New(t, o)}
	h.api = New(Options{Engine: h.Engine, Journal: h.Journal, Door: h.Door, Rights: h.Rights, Log: zaptest.NewLogger(t, zaptest.Level(zap.FatalLevel))})
	h.api.limits.countTime = time.Minute // for a slow machine
	h.at = h.Serve(t, h.api)
	h.url = h.at + "/v2/" + project + "/instances/" + controltest.Instance
	return h
}

// sdk is Huawei's SDK, as that caller.
func (h *house) sdk(t *testing.T, key, secret string) *sdk.SwrClient {
	t.Helper()
	return controltest.Vendors{URL: h.at}.SWR(t, key, secret)
}

func (h *house) admin(t *testing.T) *sdk.SwrClient {
	t.Helper()
	return h.sdk(t, controltest.AdminKey, controltest.AdminSecret)
}

// An answer is what came back for a request that no SDK sent.
type answer struct {
	status int
	id     string
	body   string
}

func (a answer) code(t *testing.T) string {
	t.Helper()
	var b problemBody
	if err := json.Unmarshal([]byte(a.body), &b); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	if len(b.Errors) != 1 || b.Errors[0].Code != b.Code || b.Errors[0].Text != b.Text || b.RequestID != a.id {
		t.Errorf("the shapes of the error differ: %s", a.body)
	}
	return b.Code
}

// ask sends a request with a token. The path is below the instance, as it is.
func (h *house) ask(t *testing.T, token, method, path, body string) answer {
	t.Helper()
	return h.send(t, method, h.url+path, body, http.Header{"X-Auth-Token": {token}})
}

func (h *house) send(t *testing.T, method, url, body string, header http.Header) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("X-Request-Id"), string(text)}
}

// want checks an answer's status and, if it is no success, its code.
func (a answer) want(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status || len(a.id) != 32 {
		t.Fatalf("got %d %s (request id %q), want %d %s", a.status, a.body, a.id, status, code)
	}
	if code != "" {
		if got := a.code(t); got != code {
			t.Errorf("code %s, want %s: %s", got, code, a.body)
		}
	}
}

// must returns what the SDK returned, which is no error.
func must[T any](t *testing.T) func(*T, error) *T {
	return func(v *T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantRefusal checks an error of the SDK, and returns what it says.
func wantRefusal(t *testing.T, err error, status int, code string) string {
	t.Helper()
	var refusal *sdkerr.ServiceResponseError
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v, want %d %s", err, status, code)
	}
	if refusal.StatusCode != status || refusal.ErrorCode != code || len(refusal.RequestId) != 32 || refusal.ErrorMessage == "" {
		t.Errorf("refused with %+v, want %d %s", refusal, status, code)
	}
	return refusal.ErrorMessage
}

func pointer[T any](v T) *T { return &v }

// sent is a policy as a client of the SDK makes it.
func sent(name string) *model.CreateSignaturePolicyRequestBody {
	return &model.CreateSignaturePolicyRequestBody{
		Name: name, Description: pointer("made by a test"), Enabled: true,
		SignatureMethod:    model.GetCreateSignaturePolicyRequestBodySignatureMethodEnum().KMS,
		SignatureAlgorithm: model.GetCreateSignaturePolicyRequestBodySignatureAlgorithmEnum().ECDSA_SHA_256,
		SignatureKey:       controltest.KeyAlias,
		Trigger:            &model.TriggerConfig{Type: model.GetTriggerConfigTypeEnum().MANUAL},
		ScopeRules: []model.SignScopeRule{{
			TagSelectors:   []model.SignRuleSelector{{Kind: "doublestar", Decoration: "matches", Pattern: "v*", Extras: pointer("")}},
			ScopeSelectors: map[string][]model.SignRuleSelector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}},
			RepoScopeMode:  "selection",
		}},
	}
}

// policyJSON is a policy as raw requests have it.
func policyJSON(name string) string {
	return `{"name":"` + name + `","enabled":true,"signature_method":"KMS","signature_algorithm":"ECDSA_SHA_256","signature_key":"release",` +
		`"trigger":{"type":"manual"},"scope_rules":[{"tag_selectors":[{"kind":"doublestar","decoration":"matches","pattern":"**"}],` +
		`"scope_selectors":{"repository":[{"kind":"doublestar","decoration":"repoMatches","pattern":"**"}]},"repo_scope_mode":"regular"}]}`
}

// create stores a policy with the SDK and returns its id.
func create(t *testing.T, c *sdk.SwrClient, namespace, name string) int32 {
	t.Helper()
	created := must[model.CreateInstanceSignPolicyResponse](t)(c.CreateInstanceSignPolicy(&model.CreateInstanceSignPolicyRequest{
		InstanceId: controltest.Instance, NamespaceName: namespace, Body: sent(name)}))
	if created.HttpStatusCode != http.StatusCreated || created.Id == nil {
		t.Fatalf("created: %+v", created)
	}
	return *created.Id
}
