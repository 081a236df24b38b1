package kms_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// noVaultEnvironment hides what the machine's user may have set.
func noVaultEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ADDR", "TOKEN", "NAMESPACE"} {
		t.Setenv("VAULT_"+name, "")
		t.Setenv("BAO_"+name, "")
	}
	t.Setenv("HOME", t.TempDir())
}

func requestsTo(store *kms.Store, op string) int64 {
	var n int64
	for request, count := range store.Requests() {
		if request.Operation == op {
			n += count
		}
	}
	return n
}

func TestVaultUsualToken(t *testing.T) {
	noVaultEnvironment(t)
	server, cfg := startVault(t)
	cfg.Auth = kms.Auth{}
	err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	if !strings.Contains(err.Error(), "token_file, role_id with secret_id_file, or kubernetes_role") {
		t.Errorf("got %v, want the ways to log in", err)
	}

	home := filepath.Join(os.Getenv("HOME"), ".vault-token")
	if err := os.WriteFile(home, []byte(server.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	openVaultKey(t, cfg, "hashivault://release")

	t.Setenv("VAULT_TOKEN", "hvs.wrong")
	err = vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	wantError(t, err, kms.ErrDenied, "permission denied")
	t.Setenv("VAULT_TOKEN", server.Token)
	openVaultKey(t, cfg, "hashivault://release")
	openVaultKey(t, cfg, "openbao://release")
	t.Setenv("BAO_TOKEN", server.Token)
	t.Setenv("VAULT_TOKEN", "hvs.wrong")
	openVaultKey(t, cfg, "openbao://release")
	t.Setenv("BAO_TOKEN", "two words")
	err = vaultOpenFails(t, kms.Config{URI: "openbao://release", Store: newStore(t, cfg)})
	if !strings.Contains(err.Error(), "BAO_TOKEN must hold one line") || strings.Contains(err.Error(), "two words") {
		t.Errorf("got %v, want the variable's name and not its value", err)
	}
}

func TestVaultNamespace(t *testing.T) {
	noVaultEnvironment(t)
	server, cfg := startVault(t)
	server.Namespace = "team-a/signing"
	err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	wantError(t, err, kms.ErrNotFound, "no handler for route")
	t.Setenv("VAULT_NAMESPACE", "team-a/signing")
	sign(t, openVaultKey(t, cfg, "hashivault://release"), payload)
	t.Setenv("VAULT_NAMESPACE", "team-b")
	cfg.Namespace = "team-a/signing"
	sign(t, openVaultKey(t, cfg, "hashivault://release"), payload)
	cfg.Namespace = "team\nb"
	err = vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	if !strings.Contains(err.Error(), "namespace has characters") {
		t.Errorf("got %v, want the field", err)
	}
}

// Who renews the token in place need not tell us.
func TestVaultTokenFileIsReadAgain(t *testing.T) {
	server, cfg := startVault(t)
	store := newStore(t, cfg)
	s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
	token := server.NewToken()
	_, err := s.Sign(t.Context(), payload)
	wantError(t, err, kms.ErrDenied, "HTTP 403", "invalid token")
	if n := requestsTo(store, "sign"); n != 1 {
		t.Errorf("%d requests with a token that the file still holds, want 1", n)
	}
	if err := os.WriteFile(cfg.Auth.TokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	sign(t, s, payload)
	sign(t, s, payload)
	if n := requestsTo(store, "sign"); n != 4 {
		t.Errorf("%d requests, want 1 before, 2 for the signature that noticed, 1 after", n)
	}
}

func TestVaultAuthFields(t *testing.T) {
	noVaultEnvironment(t)
	_, cfg := startVault(t)
	secret := writeFile(t, []byte("hunter2"))
	open := writeFile(t, []byte("hunter2"))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, auth := range map[string]kms.Auth{
		"more than one way":                           {TokenFile: secret, RoleID: "r", SecretIDFile: secret},
		"one of token_file, role_id, kubernetes_role": {KubernetesRole: "r", RoleID: "r", SecretIDFile: secret},
		"role_id and secret_id_file need each":        {RoleID: "r"},
		"secret_id_file need each other":              {SecretIDFile: secret},
		"jwt_file needs kubernetes_role":              {JWTFile: secret},
		"mount needs role_id or kubernetes_role":      {TokenFile: secret, Mount: "approle"},
		"no path of an auth method":                   {RoleID: "r", SecretIDFile: secret, Mount: "a/../b"},
		"reading token_file":                          {TokenFile: secret + ".absent"},
		"reading secret_id_file":                      {RoleID: "r", SecretIDFile: secret + ".absent"},
		"reading jwt_file":                            {KubernetesRole: "r", JWTFile: secret + ".absent"},
		"has permissions 0644":                        {TokenFile: open},
		"token_file must hold one line":               {TokenFile: writeFile(t, []byte("hunter2\nhunter2\n"))},
		"secret_id_file must hold one line":           {RoleID: "r", SecretIDFile: writeFile(t, []byte(" \n"))},
	} {
		cfg.Auth = auth
		store := newStore(t, cfg)
		err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: store})
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %q and no secret", err, want)
		}
		if sent := store.Requests(); len(sent) > 0 {
			t.Errorf("%s: requests were made: %v", want, sent)
		}
	}
}

func TestVaultLogins(t *testing.T) {
	noVaultEnvironment(t)
	lease := vaulttest.Lease{TTL: time.Hour, Renewable: true}
	for _, tt := range []struct {
		name  string
		allow func(s *vaulttest.Server, secret string)
		auth  func(file string) kms.Auth
		words string // of the server, to a wrong secret
	}{
		{"AppRole", func(s *vaulttest.Server, secret string) { s.AppRole("approle", "role-1", secret, lease) },
			func(file string) kms.Auth { return kms.Auth{RoleID: "role-1", SecretIDFile: file} }, "invalid role or secret ID"},
		{"AppRole elsewhere", func(s *vaulttest.Server, secret string) { s.AppRole("teams/ci", "role-1", secret, lease) },
			func(file string) kms.Auth {
				return kms.Auth{RoleID: "role-1", SecretIDFile: file, Mount: "auth/teams/ci"}
			}, "invalid role or secret ID"},
		{"Kubernetes", func(s *vaulttest.Server, secret string) { s.Kubernetes("kubernetes", "sealwright", secret, lease) },
			func(file string) kms.Auth { return kms.Auth{KubernetesRole: "sealwright", JWTFile: file} }, "permission denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, cfg := startVault(t)
			file := writeFile(t, []byte("hunter2\n"))
			cfg.Auth = tt.auth(file)
			tt.allow(server, "hunter3")
			store := newStore(t, cfg)
			for range 3 {
				err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: store})
				wantError(t, err, kms.ErrDenied, "logging in", tt.words)
				if n := requestsTo(store, "login"); n != 1 || strings.Contains(err.Error(), "hunter") {
					t.Errorf("%d logins, want one with the same secret, and no secret in: %v", n, err)
				}
			}
			replace := func(secret string) {
				if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			replace("hunter3")
			s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
			sign(t, s, payload)
			openConfig(t, kms.Config{URI: "hashivault://release?version=1", Store: store})
			if n := requestsTo(store, "login"); n != 2 {
				t.Errorf("%d logins, want 2: all keys of a store share one", n)
			}
			tt.allow(server, "hunter4") // the credentials are replaced, the token revoked
			replace("hunter4")
			server.Revoke()
			sign(t, s, payload)
			if n := requestsTo(store, "login"); n != 3 {
				t.Errorf("%d logins, want 3", n)
			}
		})
	}
}

// What was wrong may have been put right at the server.
func TestVaultRefusedLoginIsTriedAgainLater(t *testing.T) {
	noVaultEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		cfg.Auth = kms.Auth{RoleID: "role-1", SecretIDFile: writeFile(t, []byte("hunter2"))}
		store := newStore(t, cfg)
		vaultDenied := func() {
			err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: store})
			wantError(t, err, kms.ErrDenied, "logging in")
		}
		vaultDenied()
		server.AppRole("approle", "role-1", "hunter2", vaulttest.Lease{})
		time.Sleep(59 * time.Second)
		vaultDenied()
		time.Sleep(time.Second)
		openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
	})
}

// The token of a pod is the default, and the kubelet makes it readable for all.
func TestVaultJWTMayBeReadable(t *testing.T) {
	server, cfg := startVault(t)
	server.Kubernetes("k8s", "sealwright", "jwt", vaulttest.Lease{})
	file := writeFile(t, []byte("jwt"))
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg.Auth = kms.Auth{KubernetesRole: "sealwright", JWTFile: file, Mount: "k8s"}
	openVaultKey(t, cfg, "hashivault://release")
	cfg.Auth.JWTFile = ""
	err := vaultOpenFails(t, kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
	if !strings.Contains(err.Error(), "/var/run/secrets/kubernetes.io/serviceaccount/token") {
		t.Errorf("got %v, want the path of a pod's token", err)
	}
}

// A policy that does not let us sign must not make us log in again for each
// signature.
func TestVaultDeniedByPolicy(t *testing.T) {
	noVaultEnvironment(t)
	server, cfg := startVault(t)
	lease := vaulttest.Lease{TTL: time.Hour, Renewable: true}
	server.AppRole("approle", "role-1", "hunter2", lease)
	cfg.Auth = kms.Auth{RoleID: "role-1", SecretIDFile: writeFile(t, []byte("hunter2"))}
	store := newStore(t, cfg)
	s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
	lease.Denied = true
	server.AppRole("approle", "role-1", "hunter2", lease)
	server.Revoke()
	for range 5 {
		_, err := s.Sign(t.Context(), payload)
		wantError(t, err, kms.ErrDenied, "HTTP 403: 1 error occurred:  * permission denied")
	}
	if n := requestsTo(store, "login"); n != 2 {
		t.Errorf("%d logins, want the first and one to see whether it helps", n)
	}
}

func TestVaultDeadlineWhileLoggingIn(t *testing.T) {
	noVaultEnvironment(t)
	for _, tt := range []struct {
		fault fault
		want  error
	}{
		{plainly(vaultCloud().down), kms.ErrUnavailable},
		{plainly(vaultThrottled), kms.ErrThrottled},
		{raw(http.StatusOK, `{"auth":{}}`), kms.ErrUnavailable},
		{raw(http.StatusOK, `{"auth":{"client_token":"a b"}}`), kms.ErrUnavailable},
		{raw(http.StatusOK, `{}`), kms.ErrUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			server, cfg := vaultWorld(t)
			cfg.Auth = kms.Auth{RoleID: "role-1", SecretIDFile: writeFile(t, []byte("hunter2"))}
			server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool { tt.fault(w, r); return true })
			_, err := kms.Open(deadline(t, 10*time.Second), kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
			wantError(t, err, tt.want, "logging in")
		})
	}
}

// leaseWorld is a server in synctest's time that counts what it is asked.
func leaseWorld(t *testing.T, lease vaulttest.Lease) (*vaulttest.Server, *kms.Store, kms.Signer) {
	t.Helper()
	server := vaulttest.Offline()
	server.CreateKey(t, "transit/release", "ecdsa-p256")
	server.AppRole("approle", "role-1", "hunter2", lease)
	store := newStore(t, kms.StoreConfig{
		Endpoint: "https://vault.example", Transport: server,
		Auth: kms.Auth{RoleID: "role-1", SecretIDFile: writeFile(t, []byte("hunter2"))},
	})
	return server, store, openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
}

func TestVaultLeases(t *testing.T) {
	noVaultEnvironment(t)
	for _, tt := range []struct {
		name           string
		lease          vaulttest.Lease
		every, last    time.Duration
		logins, renews int64
		denied         int64 // requests with a token that was no good
	}{
		{"renewed when two thirds are over", vaulttest.Lease{TTL: time.Hour, Renewable: true}, time.Minute, 24 * time.Hour, 1, 36, 0},
		{"not renewable", vaulttest.Lease{TTL: time.Hour}, time.Minute, 24 * time.Hour, 37, 0, 0},
		{"an end to renewals", vaulttest.Lease{TTL: time.Hour, MaxTTL: 2 * time.Hour, Renewable: true}, time.Minute, 4 * time.Hour, 3, 6, 0},
		{"past the end of renewals", vaulttest.Lease{TTL: time.Hour, MaxTTL: 40 * time.Minute, Renewable: true}, time.Minute, 4 * time.Hour, 7, 6, 0},
		{"idle for longer than the lease", vaulttest.Lease{TTL: time.Hour, Renewable: true}, 3 * time.Hour, 9 * time.Hour, 4, 0, 0},
		{"for ever", vaulttest.Lease{}, time.Hour, 24 * time.Hour, 1, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, store, s := leaseWorld(t, tt.lease)
				start := time.Now()
				for time.Since(start) < tt.last {
					time.Sleep(tt.every)
					sign(t, s, payload)
				}
				if n := requestsTo(store, "login"); n != tt.logins {
					t.Errorf("%d logins, want %d", n, tt.logins)
				}
				if n := requestsTo(store, "renew"); n != tt.renews {
					t.Errorf("%d renewals, want %d", n, tt.renews)
				}
				if n := store.Requests()[kms.Request{Operation: "sign", Outcome: "denied"}]; n != tt.denied {
					t.Errorf("%d signatures were refused at first, want %d", n, tt.denied)
				}
			})
		})
	}
}

// A server that cannot renew the token now must not keep us from using what is
// left of it.
func TestVaultRenewalFails(t *testing.T) {
	noVaultEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		server, store, s := leaseWorld(t, vaulttest.Lease{TTL: time.Hour, Renewable: true})
		server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
			if vaultSigning(r) {
				return false
			}
			plainly(vaultCloud().down)(w, r)
			return true
		})
		time.Sleep(45 * time.Minute)
		start := time.Now()
		for range 10 {
			sign(t, s, payload)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("ten signatures took %s", took)
		}
		time.Sleep(14 * time.Minute)
		sign(t, s, payload)
		server.Intercept(nil)
		time.Sleep(2 * time.Minute) // the token has expired
		sign(t, s, payload)
		if n := store.Requests()[kms.Request{Operation: "login", Outcome: "ok"}]; n != 2 {
			t.Errorf("%d logins, want 2", n)
		}
		if n := requestsTo(store, "renew"); n > 5 {
			t.Errorf("%d renewals were tried", n)
		}
	})
}

// While one caller renews, nobody else waits for that; when there is no token,
// everybody waits for one login.
func TestVaultOneLoginForAll(t *testing.T) {
	noVaultEnvironment(t)
	synctest.Test(t, func(t *testing.T) {
		server, store, _ := leaseWorld(t, vaulttest.Lease{TTL: time.Hour, Renewable: true})
		time.Sleep(2 * time.Hour)
		goOn := make(chan struct{})
		server.Intercept(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/login") {
				<-goOn
			}
			return false
		})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				s, err := kms.Open(t.Context(), kms.Config{URI: "hashivault://release", Store: store})
				if err != nil {
					t.Error(err)
					return
				}
				_ = s.Close() // it signed nothing
			})
		}
		synctest.Wait()
		close(goOn)
		wg.Wait()
		if n := requestsTo(store, "login"); n != 2 {
			t.Errorf("%d logins, want the first and one for all", n)
		}

		server.Intercept(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/renew-self") {
				time.Sleep(5 * time.Second)
			}
			return false
		})
		time.Sleep(45 * time.Minute)
		start := time.Now()
		waited := make(chan time.Duration, 10)
		for range 10 {
			go func() {
				_, err := kms.Open(t.Context(), kms.Config{URI: "hashivault://release", Store: store})
				if err != nil {
					t.Error(err)
				}
				waited <- time.Since(start)
			}()
		}
		var slow int
		for range 10 {
			if <-waited > time.Second {
				slow++
			}
		}
		if slow != 1 || requestsTo(store, "renew") != 1 {
			t.Errorf("%d callers waited for %d renewals, want one for one", slow, requestsTo(store, "renew"))
		}
	})
}
