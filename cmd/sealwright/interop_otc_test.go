//go:build interop

package main_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/swr/v2/model"
	"github.com/opentelekomcloud/gophertelekomcloud/openstack/apigw/v2/key"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// hookKey and hookSecret sign what is sent to the webhook.
const hookKey, hookSecret = "hook-key-01", "hook-secret-0123456789"

// A recipient takes all records, and keeps those that the key of the webhook signed.
type recipient struct {
	mu     sync.Mutex
	signed []string
}

func (r *recipient) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && controltest.SignedBy(req, body, hookKey, hookSecret) == nil {
		r.signed = append(r.signed, string(body))
	}
}

// has reports whether a signed record of a repository came.
func (r *recipient) has(repository string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(strings.Join(r.signed, "\n"), `"`+repository+`"`)
}

// tell tells the daemon that nothing was pushed, and returns the status of its answer.
func (v *vendorCourt) tell(t *testing.T, prove func(*http.Request)) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, v.URL+"/events/court", strings.NewReader(`{"events": []}`))
	if err != nil {
		t.Fatal(err)
	}
	prove(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// byOTC: signature keys that Open Telekom Cloud's SDK bound prove what the registry tells,
// which a policy then signs, and sign the record of that.
func (v *vendorCourt) byOTC(t *testing.T) {
	bySource := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+eventSecret) }
	byKey := func(r *http.Request) { r.SetBasicAuth(pushKey, pushSecret) }
	if source, signed := v.tell(t, bySource), v.tell(t, byKey); source != http.StatusAccepted || signed != http.StatusUnauthorized {
		t.Errorf("before a key is bound: %d with the secret of the events, %d with the key", source, signed)
	}
	v.policy(t, "otc", model.GetTriggerConfigTypeEnum().EVENT_BASED)
	c := v.OTC(vendorKey, vendorSecret)
	controltest.BindOTC(t, c, apig.Everywhere, "sink:siem", key.CreateOpts{Name: "hooks", SignType: "hmac", SignKey: hookKey, SignSecret: hookSecret})
	controltest.BindOTC(t, c, vendorInstance, "events:court", key.CreateOpts{Name: "pushes", SignType: "basic", SignKey: pushKey, SignSecret: pushSecret})
	if source, signed := v.tell(t, bySource), v.tell(t, byKey); source != http.StatusUnauthorized || signed != http.StatusAccepted {
		t.Errorf("when a key is bound: %d with the secret of the events, %d with the key", source, signed)
	}
	v.push(t, "otc/app")
	v.shown(t, "otc")
	v.judge(t, "otc/app")
	registrytest.Eventually(t, time.Minute, "the record comes, signed", func() bool { return v.siem.has("otc/app") })
}
