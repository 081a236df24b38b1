//go:build interop

package kms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
)

// A realVault is a server in development mode: in memory, on a loopback port.
type realVault struct {
	address string
	token   string
}

// startRealVault runs the program that OPENBAO names until the test ends.
func startRealVault(t *testing.T) *realVault {
	t.Helper()
	program := os.Getenv("OPENBAO")
	if program == "" {
		t.Fatal("OPENBAO is not set: install OpenBao (https://openbao.org/docs/install), then OPENBAO=/path/to/bao go test -tags interop -run '^TestInteropVault$' ./kms")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	v := &realVault{address: "http://" + address, token: rand.Text()}
	cmd := exec.CommandContext(t.Context(), program, "server", "-dev",
		"-dev-listen-address="+address, "-dev-root-token-id="+v.token, "-dev-no-store-token")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()         // killed
		if t.Failed() {
			t.Logf("what %s said:\n%s", program, output.String())
		}
	})
	v.waitUntilReady(t)
	v.must(t, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	return v
}

func (v *realVault) waitUntilReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := v.ask(ctx, http.MethodGet, "sys/health", nil); err == nil {
			return
		} else if ctx.Err() != nil {
			t.Fatalf("the server is not ready: %v", err)
		}
		<-tick.C
	}
}

type realAnswer struct {
	Data map[string]any `json:"data"`
}

func (v *realVault) ask(ctx context.Context, method, path string, body any) (map[string]any, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, v.address+"/v1/"+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	if namespace, rest, ok := strings.Cut(path, "//"); ok { // NAMESPACE//PATH
		req.Header.Set("X-Vault-Namespace", namespace)
		req.URL.Path = "/v1/" + rest
	}
	req.Header.Set("X-Vault-Token", v.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, raw)
	}
	var answer realAnswer
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &answer)
	}
	return answer.Data, err
}

func (v *realVault) must(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	data, err := v.ask(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (v *realVault) createKey(t *testing.T, path, kind string) {
	t.Helper()
	v.must(t, http.MethodPost, path, map[string]any{"type": kind})
}

// store returns a store that logs in with the root token.
func (v *realVault) store(t *testing.T) *kms.Store {
	t.Helper()
	return newStore(t, v.config(t))
}

func (v *realVault) config(t *testing.T) kms.StoreConfig {
	t.Helper()
	return kms.StoreConfig{Endpoint: v.address, Auth: kms.Auth{TokenFile: writeFile(t, []byte(v.token))}}
}

func TestInteropVault(t *testing.T) {
	v := startRealVault(t)
	t.Run("contract", v.contract)
	t.Run("rotation", v.rotation)
	t.Run("key states", v.keyStates)
	t.Run("AppRole", v.appRole)
	t.Run("token renewal", v.renewal)
	t.Run("namespace", v.namespace)
	t.Run("batches", v.batches)
	t.Run("rate limit", v.rateLimit)
	t.Run("sealed", v.sealed) // last: nothing works after it
}

func (v *realVault) contract(t *testing.T) {
	store := v.store(t)
	for _, k := range vaultKeys {
		v.createKey(t, "transit/keys/"+k.kind, k.kind)
		for _, alg := range k.algorithms {
			t.Run(k.kind+"/"+string(alg), func(t *testing.T) {
				kmstest.Suite(t, func(t *testing.T) kms.Signer {
					s, err := kms.Open(t.Context(), kms.Config{URI: "openbao://" + k.kind, Store: store, Algorithm: alg})
					if err != nil {
						t.Fatal(err)
					}
					return s
				})
			})
		}
	}
	for request, n := range store.Requests() {
		if request.Outcome != "ok" {
			t.Errorf("%d requests to %s: %s", n, request.Operation, request.Outcome)
		}
	}
}

func (v *realVault) rotation(t *testing.T) {
	for _, kind := range []string{"ecdsa-p256", "rsa-2048"} {
		path := "transit/keys/rotated-" + kind
		alg := map[string]policy.Algorithm{"ecdsa-p256": policy.ECDSASHA256, "rsa-2048": policy.RSAPSSSHA256}[kind]
		v.createKey(t, path, kind)
		store := v.store(t)
		cfg := kms.Config{URI: "openbao://rotated-" + kind, Store: store, Algorithm: alg}
		before := openConfig(t, cfg)
		v.must(t, http.MethodPost, path+"/rotate", nil)
		after := openConfig(t, cfg)
		cfg.URI += "?version=1"
		pinned := openConfig(t, cfg)
		for want, s := range map[string]kms.Signer{"1": before, "2": after} {
			sign(t, s, payload)
			if s.Version() != want {
				t.Errorf("%s: version %s, want %s", kind, s.Version(), want)
			}
		}
		sign(t, pinned, payload)
		if pinned.Public().Fingerprint() != before.Public().Fingerprint() || after.Public().Fingerprint() == before.Public().Fingerprint() {
			t.Errorf("%s: the versions' keys are mixed up", kind)
		}
		v.must(t, http.MethodPost, path+"/config", map[string]any{"min_encryption_version": 2})
		_, err := before.Sign(t.Context(), payload)
		wantError(t, err, kms.ErrKeyState, "less than the minimum")
		wantError(t, vaultOpenFails(t, cfg), kms.ErrKeyState, "min_encryption_version is 2")
		v.must(t, http.MethodPost, path+"/config", map[string]any{"min_decryption_version": 2})
		v.must(t, http.MethodPost, path+"/trim", map[string]any{"min_available_version": 2})
		wantError(t, vaultOpenFails(t, cfg), kms.ErrNotFound, "has no version 1; the latest is 2")
		_, err = before.Sign(t.Context(), payload)
		wantError(t, err, kms.ErrKeyState)
		sign(t, after, payload)
	}
}

func (v *realVault) keyStates(t *testing.T) {
	store := v.store(t)
	for _, kind := range []string{"aes256-gcm96", "ed25519", "ecdsa-p521"} {
		v.createKey(t, "transit/keys/"+kind, kind)
		wantError(t, vaultOpenFails(t, kms.Config{URI: "openbao://" + kind, Store: store}), kms.ErrKeyMismatch, kind)
	}
	for _, uri := range []string{"openbao://absent", "openbao://nowhere/absent"} {
		wantError(t, vaultOpenFails(t, kms.Config{URI: uri, Store: store}), kms.ErrNotFound, "HTTP 404")
	}
	v.createKey(t, "transit/keys/doomed", "ecdsa-p256")
	s := openConfig(t, kms.Config{URI: "openbao://doomed", Store: store})
	v.must(t, http.MethodDelete, "transit/keys/doomed/soft-delete", nil)
	_, err := s.Sign(t.Context(), payload)
	wantError(t, err, kms.ErrKeyState, "soft-deleted")
	wantError(t, vaultOpenFails(t, kms.Config{URI: "openbao://doomed", Store: store}), kms.ErrKeyState, "soft-deleted")
	v.must(t, http.MethodPost, "transit/keys/doomed/soft-delete-restore", nil)
	sign(t, s, payload)
	v.must(t, http.MethodPost, "transit/keys/doomed/config", map[string]any{"deletion_allowed": true})
	v.must(t, http.MethodDelete, "transit/keys/doomed", nil)
	_, err = s.Sign(t.Context(), payload)
	wantError(t, err, kms.ErrNotFound, "signing key not found")
	v.createKey(t, "transit/keys/doomed", "ecdsa-p256") // another key behind the same version
	_, err = s.Sign(t.Context(), payload)
	wantError(t, err, kms.ErrKeyMismatch, "opened with fingerprint")
}

// role makes an AppRole that may sign with one key, and returns how to log in.
func (v *realVault) role(t *testing.T, name, key string, settings map[string]any) kms.Auth {
	t.Helper()
	if _, err := v.ask(t.Context(), http.MethodGet, "sys/auth/approle", nil); err != nil {
		v.must(t, http.MethodPost, "sys/auth/approle", map[string]any{"type": "approle"})
	}
	v.must(t, http.MethodPut, "sys/policies/acl/"+name, map[string]any{"policy": fmt.Sprintf(`
path "transit/keys/%[1]s" { capabilities = ["read"] }
path "transit/sign/%[1]s/*" { capabilities = ["update"] }`, key)})
	settings["token_policies"] = name
	v.must(t, http.MethodPost, "auth/approle/role/"+name, settings)
	roleID := v.must(t, http.MethodGet, "auth/approle/role/"+name+"/role-id", nil)["role_id"].(string)
	secret := v.must(t, http.MethodPost, "auth/approle/role/"+name+"/secret-id", nil)["secret_id"].(string)
	return kms.Auth{RoleID: roleID, SecretIDFile: writeFile(t, []byte(secret))}
}

// The policy is the least one: that of the documentation.
func (v *realVault) appRole(t *testing.T) {
	v.createKey(t, "transit/keys/release", "ecdsa-p256")
	v.createKey(t, "transit/keys/other", "ecdsa-p256")
	cfg := kms.StoreConfig{Endpoint: v.address, Auth: v.role(t, "sealwright", "release", map[string]any{})}
	store := newStore(t, cfg)
	sign(t, openConfig(t, kms.Config{URI: "openbao://release", Store: store}), payload)
	err := vaultOpenFails(t, kms.Config{URI: "openbao://other", Store: store})
	wantError(t, err, kms.ErrDenied, "HTTP 403", "permission denied")

	cfg.Auth.SecretIDFile = writeFile(t, []byte("hunter2"))
	err = vaultOpenFails(t, kms.Config{URI: "openbao://release", Store: newStore(t, cfg)})
	wantError(t, err, kms.ErrDenied, "logging in")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error has the secret: %v", err)
	}
	cfg.Auth = kms.Auth{TokenFile: writeFile(t, []byte("hvs.hunter2"))}
	err = vaultOpenFails(t, kms.Config{URI: "openbao://release", Store: newStore(t, cfg)})
	wantError(t, err, kms.ErrDenied, "HTTP 403")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error has the token: %v", err)
	}
}

// Signing goes on while tokens live three seconds, six with renewals.
func (v *realVault) renewal(t *testing.T) {
	v.createKey(t, "transit/keys/renewed", "ecdsa-p256")
	auth := v.role(t, "renewed", "renewed", map[string]any{"token_ttl": "3s", "token_max_ttl": "6s"})
	store := newStore(t, kms.StoreConfig{Endpoint: v.address, Auth: auth})
	s := openConfig(t, kms.Config{URI: "openbao://renewed", Store: store})
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 120 {
		<-tick.C
		sign(t, s, payload)
	}
	requests := store.Requests()
	t.Logf("12 seconds: %v", requests)
	if requestsTo(store, "renew") < 2 || requests[kms.Request{Operation: "login", Outcome: "ok"}] < 2 {
		t.Error("want at least two renewals and two logins")
	}
	if n := requests[kms.Request{Operation: "renew", Outcome: "unavailable"}]; n > 0 {
		t.Errorf("%d refused renewals were taken for an outage", n)
	}
	if n := requests[kms.Request{Operation: "sign", Outcome: "denied"}]; n > 0 {
		t.Errorf("%d requests were made with a token that had expired", n)
	}
}

func (v *realVault) namespace(t *testing.T) {
	v.must(t, http.MethodPost, "sys/namespaces/team-a", nil)
	v.must(t, http.MethodPost, "team-a//sys/mounts/signing/v2", map[string]any{"type": "transit"})
	v.must(t, http.MethodPost, "team-a//signing/v2/keys/release", map[string]any{"type": "ecdsa-p384"})
	cfg := v.config(t)
	cfg.Namespace = "team-a"
	s := openConfig(t, kms.Config{URI: "openbao://signing/v2/release", Store: newStore(t, cfg)})
	sign(t, s, payload)
	err := vaultOpenFails(t, kms.Config{URI: "openbao://signing/v2/release", Store: v.store(t)})
	wantError(t, err, kms.ErrNotFound)
}

func (v *realVault) batches(t *testing.T) {
	for _, k := range []struct {
		kind string
		alg  policy.Algorithm
	}{{"ecdsa-p256", policy.ECDSASHA256}, {"rsa-2048", policy.RSAPSSSHA256}} {
		for _, callers := range []int{1, 16, 64} {
			store := v.store(t)
			s := openConfig(t, kms.Config{URI: "openbao://" + k.kind, Store: store, Algorithm: k.alg})
			const n = 2000
			start := time.Now()
			signByMany(t, s, n, callers)
			requests := requestsTo(store, "sign")
			t.Logf("%s, %2d callers: %5.0f sig/s, %4.1f sig/request", k.kind, callers, n/time.Since(start).Seconds(), n/float64(requests))
			if callers == 64 && requests > n/8 {
				t.Errorf("64 callers made %d requests for %d signatures", requests, n)
			}
		}
	}
}

func (v *realVault) rateLimit(t *testing.T) {
	v.createKey(t, "transit/keys/limited", "ecdsa-p256")
	store := v.store(t)
	s := openConfig(t, kms.Config{URI: "openbao://limited", Store: store})
	v.must(t, http.MethodPost, "sys/quotas/rate-limit/transit", map[string]any{"path": "transit/", "rate": 3, "interval": "1s"})
	for range 8 {
		if _, err := s.Sign(deadline(t, time.Minute), payload); err != nil {
			t.Error(err)
		}
	}
	v.must(t, http.MethodDelete, "sys/quotas/rate-limit/transit", nil)
	if store.Requests()[kms.Request{Operation: "sign", Outcome: "throttled"}] == 0 {
		t.Errorf("no request was throttled: %v", store.Requests())
	}
}

func (v *realVault) sealed(t *testing.T) {
	store := v.store(t)
	s := openConfig(t, kms.Config{URI: "openbao://release", Store: store})
	v.must(t, http.MethodPut, "sys/seal", nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := s.Sign(deadline(t, 3*time.Second), payload)
			if !errors.Is(err, kms.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want ErrUnavailable or the deadline", err)
			}
		})
	}
	wg.Wait()
	if store.Requests()[kms.Request{Operation: "sign", Outcome: "unavailable"}] == 0 {
		t.Errorf("no request found it unavailable: %v", store.Requests())
	}
}
