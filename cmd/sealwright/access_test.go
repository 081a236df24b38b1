package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/sealwright/sealwright/registry/registrytest"
)

const (
	scrapeToken  = "0123456789abcdef0123456789abcdef"
	limitedToken = "fedcba9876543210fedcba9876543210"
)

// listening is a house whose daemon is to listen, with that access.
func listening(t *testing.T, access string) (h *house, url string) {
	t.Helper()
	h = newHouse(t)
	address := freeAddress(t)
	for name, token := range map[string]string{"scrape": scrapeToken, "limited": limitedToken, "short": "guess me"} {
		if err := os.WriteFile(h.path(name+".token"), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("oci.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	h.access(address, access)
	return h, "http://" + address
}

func (h *house) access(address, access string) {
	h.t.Helper()
	h.write(fmt.Sprintf(`registries: [{name: test, host: %q, insecure: true}]
keys: [{name: release, uri: "file:release.key"}]
policies:
  - %s
state: %q
listen: %q
access: %s
`, h.registry.Host, fmt.Sprintf(manual, "app"), h.path("state"), address, access))
}

const bothCallers = `[{name: prometheus, role: viewer, token_file: scrape.token}, {name: team, role: admin, token_file: limited.token, registries: [test]}]`

// scraped returns what the metrics answer to a header.
func scraped(t *testing.T, url string, header ...string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 2 {
		req.Header.Set(header[0], header[1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// TestMetricsAtListen: who may see all registries reads the metrics, and nobody
// else. A reload changes who may.
func TestMetricsAtListen(t *testing.T) {
	h, url := listening(t, bothCallers)
	d := h.start()
	for _, tt := range []struct {
		header []string
		status int
	}{
		{[]string{"Authorization", "Bearer " + scrapeToken}, http.StatusOK},
		{[]string{"X-Auth-Token", scrapeToken}, http.StatusOK},
		{[]string{"Authorization", "Bearer " + limitedToken}, http.StatusForbidden},
		{[]string{"Authorization", "Bearer " + scrapeToken[1:]}, http.StatusUnauthorized},
		{[]string{"Authorization", "Basic " + scrapeToken}, http.StatusUnauthorized},
		{nil, http.StatusUnauthorized},
	} {
		status, text := scraped(t, url, tt.header...)
		if status != tt.status || strings.Contains(text, "sealwright_key_usable") != (status == http.StatusOK) {
			t.Errorf("%v: %d, want %d\n%s", tt.header, status, tt.status, text)
		}
	}
	reloaded := func(access, said string) {
		t.Helper()
		h.access(strings.TrimPrefix(url, "http://"), access)
		before := strings.Count(d.log.String(), said)
		d.signal(syscall.SIGHUP)
		registrytest.Eventually(t, patience, said, func() bool { return strings.Count(d.log.String(), said) > before })
	}
	reloaded(`[{name: prometheus, role: viewer, token_file: short.token}]`, "configuration refused")
	if status, _ := scraped(t, url, "X-Auth-Token", scrapeToken); status != http.StatusOK {
		t.Errorf("%d after a configuration that was refused", status)
	}
	reloaded(`[{name: prometheus, role: viewer, token_file: limited.token}]`, "configuration reloaded")
	for token, want := range map[string]int{scrapeToken: http.StatusUnauthorized, limitedToken: http.StatusOK} {
		if status, _ := scraped(t, url, "X-Auth-Token", token); status != want {
			t.Errorf("%d after the reload, want %d", status, want)
		}
	}
	reloaded(fmt.Sprintf(`[{name: prometheus, role: viewer, token_sha256: "%x"}]`, sha256.Sum256([]byte(scrapeToken))), "configuration reloaded")
	if status, _ := scraped(t, url, "X-Auth-Token", scrapeToken); status != http.StatusOK {
		t.Errorf("%d with the token whose hash is configured", status)
	}
	d.stop()
	for _, secret := range []string{scrapeToken, limitedToken, "guess me"} {
		if strings.Contains(d.log.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

const wrongFingerprint = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"

// TestAccessThatIsNone: tokens that may be guessed, or are those of two callers,
// are refused at the start.
func TestAccessThatIsNone(t *testing.T) {
	for access, said := range map[string]string{
		`[{name: prometheus, role: viewer, token_file: short.token}]`:                                           "short.token: has 8 bytes, want 32 to 4096",
		`[{name: a, role: viewer, token_file: scrape.token}, {name: b, role: admin, token_file: scrape.token}]`: `credential "b": credential "a" has the same token`,
		`[{name: a, role: viewer, token_file: gone.token}]`:                                                     "gone.token does not exist",
		`[{name: a, role: viewer, access_key: AK, secret_key_file: short.token}]`:                               "short.token: has 8 bytes, want 32 to 4096",
		`[{name: a, role: viewer, oci_key_id: "t/u/` + wrongFingerprint + `", public_key_file: scrape.token}]`:  "is no PEM block PUBLIC KEY",
		`[{name: a, role: viewer, oci_key_id: "t/u/` + wrongFingerprint + `", public_key_file: oci.pem}]`:       "which is not that of oci_key_id",
	} {
		h, _ := listening(t, access)
		if _, stderr := h.run(exitUsage, "run"); !strings.Contains(stderr, said) || strings.Contains(stderr, "guess me") {
			t.Errorf("%s: %s\nwant %s", access, stderr, said)
		}
	}
}
