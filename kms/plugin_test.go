package kms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
)

// buildPlugin builds a plugin that sigstore's own library serves.
func buildPlugin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sigstore-kms-test")
	build := exec.Command("go", "build", "-o", path, "./kmstest/plugintest")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, out)
	}
	return path
}

func pluginStore(t *testing.T, program string) *kms.Store {
	t.Helper()
	cfg := kms.StoreConfig{Plugin: program, Timeout: 20 * time.Second}
	cfg.Limits.RequestsPerSecond = 1e6
	store, err := kms.NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// pluginKey writes a key and returns its path.
func pluginKey(t *testing.T, key crypto.Signer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	writePluginKey(t, path, key)
	return path
}

func writePluginKey(t *testing.T, path string, key crypto.Signer) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func pluginEC(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pluginRSA(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestPluginSuite(t *testing.T) {
	program := buildPlugin(t)
	p256, p384, rsaPath := pluginKey(t, pluginEC(t, elliptic.P256())), pluginKey(t, pluginEC(t, elliptic.P384())), pluginKey(t, pluginRSA(t))
	for _, tt := range []struct {
		alg policy.Algorithm
		key string
	}{
		{policy.ECDSASHA256, p256}, {policy.ECDSASHA384, p384},
		{policy.RSAPSSSHA384, "pss:" + rsaPath}, {policy.RSAPKCS1SHA256, rsaPath}, // each signature costs a process
	} {
		t.Run(string(tt.alg), func(t *testing.T) {
			store := pluginStore(t, program)
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				s, err := kms.Open(t.Context(), kms.Config{URI: "plugin:" + tt.key, Store: store, Algorithm: tt.alg})
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

func TestPluginEveryAlgorithm(t *testing.T) {
	program, path := buildPlugin(t), pluginKey(t, pluginRSA(t))
	for alg, key := range map[policy.Algorithm]string{
		policy.RSAPSSSHA256: "pss:" + path, policy.RSAPSSSHA512: "pss:" + path, policy.RSAPKCS1SHA384: path, policy.RSAPKCS1SHA512: path,
	} {
		s, err := kms.Open(t.Context(), kms.Config{URI: "plugin:" + key, Store: pluginStore(t, program), Algorithm: alg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(t.Context(), []byte("message")); err != nil { // it is verified before it is returned
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// The usual algorithm of a P-384 key is known only with the key.
func TestPluginUsualAlgorithm(t *testing.T) {
	path := pluginKey(t, pluginEC(t, elliptic.P384()))
	s, err := kms.Open(t.Context(), kms.Config{URI: "plugin:" + path, Store: pluginStore(t, buildPlugin(t))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), []byte("message")); err != nil || s.Public().Algorithm() != policy.ECDSASHA384 {
		t.Errorf("%s: %v", s.Public().Algorithm(), err)
	}
}

func TestPluginKeysThatDoNotFit(t *testing.T) {
	program := buildPlugin(t)
	rsaPath, ecPath := pluginKey(t, pluginRSA(t)), pluginKey(t, pluginEC(t, elliptic.P256()))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	t.Run("another padding", func(t *testing.T) {
		s, err := kms.Open(ctx, kms.Config{URI: "plugin:" + rsaPath, Store: pluginStore(t, program), Algorithm: policy.RSAPSSSHA256})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Sign(ctx, []byte("message"))
		if !errors.Is(err, kms.ErrUnsupported) || !strings.Contains(err.Error(), "with RSA_PKCS1_SHA_256, not with the configured RSA_PSS_SHA_256") {
			t.Errorf("%v, want ErrUnsupported naming both algorithms", err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		s, err := kms.Open(ctx, kms.Config{URI: "plugin:" + ecPath, Store: pluginStore(t, program)})
		if err != nil {
			t.Fatal(err)
		}
		writePluginKey(t, ecPath, pluginEC(t, elliptic.P256()))
		if _, err := s.Sign(ctx, []byte("message")); !errors.Is(err, kms.ErrKeyMismatch) {
			t.Errorf("%v, want ErrKeyMismatch", err)
		}
	})
	t.Run("another kind", func(t *testing.T) {
		if _, err := kms.Open(ctx, kms.Config{URI: "plugin:" + rsaPath, Store: pluginStore(t, program), Algorithm: policy.ECDSASHA256}); !errors.Is(err, kms.ErrKeyMismatch) {
			t.Errorf("%v, want ErrKeyMismatch", err)
		}
	})
	t.Run("no SM3", func(t *testing.T) {
		if _, err := kms.Open(ctx, kms.Config{URI: "plugin:" + ecPath, Store: pluginStore(t, program), Algorithm: policy.SM2SM3}); !errors.Is(err, kms.ErrUnsupported) {
			t.Errorf("%v, want ErrUnsupported", err)
		}
	})
}

// pluginScript writes a program that answers as text says.
func pluginScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPluginFaults(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		want         error
		says         string
	}{
		{"an error", `echo '{"errorMessage":"no such key: x"}'; exit 1`, kms.ErrUnavailable, "plugin: no such key: x"},
		{"no JSON", "echo hello", kms.ErrUnavailable, "not the protocol's JSON"},
		{"no output", "echo 'token missing' >&2; exit 3", kms.ErrUnavailable, "exit status 3: token missing"},
		{"killed", "kill -9 $$", kms.ErrUnavailable, "signal: killed"},
		{"an empty answer", "echo '{}'", kms.ErrUnsupported, "no public key"},
		{"another method's answer", `echo '{"signMessage":{"signature":"AAAA"}}'`, kms.ErrUnsupported, "no public key"},
		{"no PEM", `echo '{"publicKey":{"publicKeyPEM":"AAAA"}}'`, nil, "no PEM block"},
		{"too much", `head -c 2000000 /dev/zero`, kms.ErrUnsupported, "more than 1048576 bytes"},
		{"much on standard error", `head -c 2000000 /dev/zero | tr '\0' x >&2; exit 1`, kms.ErrUnavailable, "xxx…"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // those that are asked again take their time
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := kms.Open(ctx, kms.Config{URI: "plugin:key", Store: pluginStore(t, pluginScript(t, tt.script))})
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 600 {
				t.Errorf("%v, want %v saying %q", err, tt.want, tt.says)
			}
		})
	}
}

// A plugin that fails once is asked again.
func TestPluginIsAskedAgain(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(pluginEC(t, elliptic.P256()).Public())
	if err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf(`{"publicKey":{"publicKeyPEM":"%s"}}`, base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	mark := filepath.Join(t.TempDir(), "mark")
	store := pluginStore(t, pluginScript(t, fmt.Sprintf("if [ -e %s ]; then echo '%s'; else touch %s; exit 1; fi", mark, good, mark)))
	if _, err := kms.Open(t.Context(), kms.Config{URI: "plugin:key", Store: store}); err != nil {
		t.Fatal(err)
	}
	if n := store.Requests()[kms.Request{Operation: "public_key", Outcome: "unavailable"}]; n != 1 {
		t.Errorf("%d failed calls were counted, want 1", n)
	}
}

// A plugin that hangs is ended at the deadline, and so is what it started.
func TestPluginHangs(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	mkfifo := exec.Command("mkfifo", pipe)
	if out, err := mkfifo.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Whoever has the pipe open for writing keeps its reader waiting.
	store := pluginStore(t, pluginScript(t, "exec 3>"+pipe+"\nsleep 600 &\nsleep 600"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(pipe)
		ended <- err
	}()
	if _, err := kms.Open(ctx, kms.Config{URI: "plugin:key", Store: store}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want context.DeadlineExceeded", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("what the plugin started still runs")
	}
}

func TestPluginPrograms(t *testing.T) {
	dir := t.TempDir()
	program := pluginScript(t, "exit 0")
	copyTo := func(name string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(copyTo("target", 0o722), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                           "the key store names no program",
		"sigstore-kms-test":          "not an absolute path; nothing is looked for on PATH",
		"./plugin":                   "not an absolute path",
		filepath.Join(dir, "absent"): "no such file",
		dir:                          "allowed: an executable regular file",
		copyTo("plain", 0o600):       "allowed: an executable regular file",
		copyTo("group", 0o770):       "not writable by group or others",
		copyTo("others", 0o702):      "not writable by group or others",
		copyTo(filepath.Join("open", "p"), 0o700): "open has permissions 0777",
		link: "target has permissions 0722",
	} {
		_, err := kms.Open(t.Context(), kms.Config{URI: "plugin:key", Store: pluginStore(t, path)})
		if !errors.Is(err, kms.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want ErrUnsupported saying %q", path, err, want)
		}
	}
	for uri, want := range map[string]string{
		"plugin:":                             "allowed: plugin:KEY_RESOURCE_ID",
		"plugin://acme/key":                   "allowed: plugin:KEY_RESOURCE_ID",
		"plugin:" + strings.Repeat("k", 3000): "of at most 2048 bytes",
		"plugin:key\x00":                      "without control characters",
		"plugin:key\nother":                   "without control characters",
		"plugin:\xff":                         "in UTF-8",
	} {
		if _, err := kms.Open(t.Context(), kms.Config{URI: uri, Store: pluginStore(t, program)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", uri, err, want)
		}
	}
}
