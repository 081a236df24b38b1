package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opentelekomcloud/gophertelekomcloud/openstack/apigw/v2/key"

	"github.com/sealwright/sealwright/engine/control/apig"
	"github.com/sealwright/sealwright/engine/control/controltest"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry/registrytest"
)

// A relay passes on what a registry tells: as it is, or signed by Huawei's own signer
// once it has a key, since registries do not sign.
type relay struct {
	*httptest.Server
	t  *testing.T
	to string // URL of the daemon

	mu          sync.Mutex
	key, secret string
	answers     map[string]int // how often each secret, status and text came
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{t: t, to: to, answers: map[string]int{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// has hands a key to the relay; an empty one takes it away.
func (r *relay) has(key, secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.key, r.secret = key, secret
}

// answered reports whether what was sent with a secret was answered so.
func (r *relay) answered(secret string, status int, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for answer := range r.answers {
		if strings.HasPrefix(answer, fmt.Sprintf("%s %d ", secret, status)) && strings.Contains(answer, text) {
			return true
		}
	}
	return false
}

func (r *relay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	body, err := io.ReadAll(in.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	out, err := http.NewRequestWithContext(in.Context(), in.Method, r.to+in.URL.Path, bytes.NewReader(body))
	if err != nil {
		r.t.Error(err)
		return
	}
	out.Header = in.Header.Clone()
	if r.key != "" {
		out.Header.Set("X-Sdk-Date", time.Now().UTC().Format("20060102T150405Z"))
		out.Header.Set("Authorization", controltest.HuaweiSigned(r.t, out, body, r.key, r.secret))
	}
	resp, err := http.DefaultClient.Do(out)
	if err != nil { // the daemon has ended
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	said, _ := io.ReadAll(resp.Body)
	r.answers[fmt.Sprintf("%s %d %s", r.secret, resp.StatusCode, said)]++
	w.WriteHeader(resp.StatusCode)
}

const (
	provingKey, provingSecret = "event-key-01", "event-secret-0123456789"
	hookKey, hookSecret       = "hook-key-01", "hook-secret-0123456789"
)

// signatureKeyHouse is a house whose registry tells of pushes through a relay, and whose
// records go to a hook.
func signatureKeyHouse(t *testing.T) (h *house, r *relay, k *hook, url string) {
	t.Helper()
	listen := freeAddress(t)
	url = "http://" + listen
	r = newRelay(t, url)
	k = &hook{gate: door.NewGate(15*time.Minute, 1000, time.Now)}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	h = &house{t: t, dir: t.TempDir(), env: append(os.Environ(), "GORACE=atexit_sleep_ms=10"),
		registry: registrytest.Notifying(t, r.URL+"/events/test", "Bearer "+pushSecret)}
	if _, err := generate(policy.ECDSASHA256, 0, h.path("release"), nil); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"events.secret": pushSecret, "vendor.secret": vendorSecret, "seal.key": strings.Repeat("5e", 32)} {
		if err := os.WriteFile(h.path(name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.write(fmt.Sprintf(`registries:
  - {name: test, host: %q, insecure: true, events: {source: distribution, secret_file: events.secret}}
keys: [{name: release, uri: "file:release.key"}]
policies:
  - {name: pushed, registry: test, key: release, trigger: {type: event_based}, scope: [{repositories: "**", tags: "v*"}]}
state: %q
listen: %q
access: [{name: vendor, role: admin, access_key: %s, secret_key_file: vendor.secret}]
sinks: [{name: siem, kind: webhook, url: %q}]
signature_keys: {seal_key_file: seal.key}
`, h.registry.Host, h.path("state"), listen, vendorKey, server.URL+"/records"))
	return h, r, k, url
}

// TestSignatureKeysOfADaemon: keys that Open Telekom Cloud's SDK bound sign what goes to a
// sink and prove what a registry tells, in place of the secret of the events.
func TestSignatureKeysOfADaemon(t *testing.T) {
	t.Parallel()
	h, r, k, url := signatureKeyHouse(t)
	d := h.start()
	c := controltest.Vendors{URL: url}.OTC(vendorKey, vendorSecret)
	binding := controltest.BindOTC(t, c, "test", "events:test", key.CreateOpts{Name: "proving", SignType: "hmac", SignKey: provingKey, SignSecret: provingSecret})
	controltest.BindOTC(t, c, apig.Everywhere, "sink:siem", key.CreateOpts{Name: "hooks", SignType: "hmac", SignKey: hookKey, SignSecret: hookSecret})

	digest := h.registry.Push(t, "app:v1", registrytest.Image(t))
	refused := func(secret, text string) {
		t.Helper()
		registrytest.Eventually(t, patience, "it is refused: "+text, func() bool { return r.answered(secret, http.StatusUnauthorized, text) })
	}
	refused("", "a signature key is bound") // the secret of the events alone
	r.has(provingKey, "another-secret-0123456789")
	refused("another-secret-0123456789", "Verify authroization failed.") //nolint:misspell // as they spell it
	r.has(hookKey, hookSecret)
	refused(hookSecret, "Signing key not found.")
	if n := h.registry.Signatures(t, "app", digest); n != 0 {
		t.Errorf("%d signatures before anybody proved the push", n)
	}
	r.has(provingKey, provingSecret)
	await := func(repository string) {
		t.Helper()
		registrytest.Eventually(t, patience, "the push is signed", func() bool { return h.registry.Signatures(t, repository, digest) == 1 })
	}
	await("app")
	if !r.answered(provingSecret, http.StatusAccepted, "") {
		t.Errorf("answers %v", r.answers)
	}
	h.run(exitOK, "verify", "--insecure", "--key", h.path("release.pub"), h.registry.Host+"/app:v1")

	// Without a bound key the secret of the events is the proof again.
	if err := key.UnbindKey(c, "test", binding); err != nil {
		t.Fatal(err)
	}
	r.has("", "")
	digest = h.registry.Push(t, "later:v1", registrytest.Image(t))
	await("later")
	k.signedBy(t, hookKey, hookSecret, "app", "later")
	d.stop()
	for _, secret := range []string{provingSecret, hookSecret, pushSecret, vendorSecret} {
		if strings.Contains(d.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// signedBy waits until the records of these repositories have come, and fails unless that
// key signed all that came.
func (k *hook) signedBy(t *testing.T, accessKey, secret string, repositories ...string) {
	t.Helper()
	k.mu.Lock()
	k.key = door.SDKKey{AccessKey: accessKey, Secret: []byte(secret)}
	k.mu.Unlock()
	for _, repository := range repositories {
		registrytest.Eventually(t, patience, "the record of "+repository+" is delivered", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return strings.Contains(strings.Join(k.took, "\n"), `"`+repository+`"`)
		})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, err := range k.bad {
		t.Errorf("a request was not signed right: %v", err)
	}
}
