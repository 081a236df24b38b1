//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

const signingURI = "pkcs11:object=signing"

func TestSuite(t *testing.T) {
	p := startHelper(t, newTestToken(t,
		newKey{Kind: "P-256", Label: "p256", ID: "01"}, newKey{Kind: "P-384", Label: "p384", ID: "02"},
		newKey{Kind: "RSA-2048", Label: "rsa2048", ID: "03"}, newKey{Kind: "RSA-3072", Label: "rsa3072", ID: "04ff"}))
	for _, tt := range []struct {
		alg          policy.Algorithm
		uri, version string
	}{
		{policy.ECDSASHA256, "pkcs11:token=release;object=p256;id=%01", "01"},
		{policy.ECDSASHA384, "pkcs11:id=%02", "02"},
		{policy.RSAPSSSHA256, "pkcs11:object=rsa2048", "03"},
		{policy.RSAPSSSHA384, "pkcs11:object=rsa3072", "04ff"},
		{policy.RSAPSSSHA512, "pkcs11:object=rsa2048", "03"},
		{policy.RSAPKCS1SHA256, "pkcs11:object=rsa3072;id=%04%FF;type=private", "04ff"},
		{policy.RSAPKCS1SHA384, "pkcs11:object=rsa2048", "03"},
		{policy.RSAPKCS1SHA512, "pkcs11:object=rsa3072", "04ff"},
	} {
		t.Run(string(tt.alg), func(t *testing.T) {
			kmstest.Suite(t, func(t *testing.T) kms.Signer {
				s := p.open(t, tt.uri, tt.alg)
				if s.Version() != tt.version || s.Public().Algorithm() != tt.alg {
					t.Errorf("version %q with %s, want %q with %s", s.Version(), s.Public().Algorithm(), tt.version, tt.alg)
				}
				return s
			})
		})
	}
}

// Keys that cannot be opened, and keys that are found by detours.
func TestOpen(t *testing.T) {
	p := startHelper(t, newTestToken(t,
		newKey{Kind: "P-256", Label: "signing", ID: "01"},
		newKey{Kind: "P-256", Label: "two labels", ID: "02", OtherLabel: "public"},
		newKey{Kind: "P-256", Label: "carded", ID: "03", Certificate: true},
		newKey{Kind: "P-256", Label: "always", ID: "04", Always: true},
		newKey{Kind: "P-256", Label: "wrapping", ID: "05", NotToSign: true},
		newKey{Kind: "P-256", Label: "bare", ID: "06", NoPublic: true},
		newKey{Kind: "RSA-2048", Label: "bare rsa", ID: "07", NoPublic: true},
		newKey{Kind: "P-256", Label: "twin", ID: "08"}, newKey{Kind: "P-256", Label: "twin", ID: "09"},
		newKey{Kind: "P-256", Label: "crowd", ID: "0a", OtherPublics: 1},
		newKey{Kind: "P-521", Label: "p521", ID: "0b"},
		newKey{Kind: "P-256", Label: "no id"}))
	for _, tt := range []struct {
		uri  string
		alg  policy.Algorithm
		want error // nil: signs
		says string
	}{
		{uri: "pkcs11:object=signing"},
		{uri: "pkcs11:token=release;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;object=signing"},
		{uri: "pkcs11:object=two%20labels"},
		{uri: "pkcs11:object=carded"},
		{uri: "pkcs11:object=always"},
		{uri: "pkcs11:object=bare%20rsa", alg: policy.RSAPSSSHA256},
		{uri: "pkcs11:object=twin;id=%09"},
		{uri: "pkcs11:object=no%20id"},
		{uri: "pkcs11:object=wrapping", want: kms.ErrKeyState, says: "not for signing (CKA_SIGN)"},
		{uri: "pkcs11:object=bare", want: kms.ErrNotFound, says: "neither a public key nor a certificate with the private key's id 06"},
		{uri: "pkcs11:object=twin", want: kms.ErrKeyMismatch, says: "2 private keys"},
		{uri: "pkcs11:object=crowd", want: kms.ErrKeyMismatch, says: "several public keys"},
		{uri: "pkcs11:object=p521", want: kms.ErrKeyMismatch, says: "curve P-521"},
		{uri: "pkcs11:object=absent", want: kms.ErrNotFound, says: "no such private key"},
		{uri: "pkcs11:object=signing;id=%02", want: kms.ErrNotFound},
		{uri: "pkcs11:token=other;object=signing", want: kms.ErrNotFound, says: `serves a token with token "release", not "other"`},
		{uri: "pkcs11:serial=0;object=signing", want: kms.ErrNotFound, says: "serial"},
		{uri: "pkcs11:object=signing", alg: policy.ECDSASHA384, want: kms.ErrKeyMismatch},
		{uri: "pkcs11:object=signing", alg: policy.SM2SM3, want: kms.ErrKeyMismatch},
		{uri: "pkcs11:object=bare%20rsa", want: kms.ErrKeyMismatch, says: "needs an algorithm"},
	} {
		t.Run(tt.uri+string(tt.alg), func(t *testing.T) {
			if tt.want == nil {
				sign(t, p.open(t, tt.uri, tt.alg))
				return
			}
			_, err := kms.Open(t.Context(), kms.Config{URI: tt.uri, Store: p.store(t), Algorithm: tt.alg})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %v saying %q", err, tt.want, tt.says)
			}
		})
	}
}

func sign(t testing.TB, s kms.Signer) {
	t.Helper()
	message := []byte("message")
	signature, err := s.Sign(t.Context(), message)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Public().Verify(message, signature); err != nil {
		t.Fatal(err)
	}
}

func TestWrongPINIsTriedOnce(t *testing.T) {
	h := newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"})
	p := newHelper(t, h)
	p.setPIN(t, "11112222\n")
	p.start(t)
	cfg := kms.Config{URI: signingURI, Store: p.store(t)}
	open := func() (kms.Signer, error) { return kms.Open(t.Context(), cfg) }
	var remembered bool
	for !remembered { // until a second login would have been due
		_, err := open()
		if !errors.Is(err, kms.ErrDenied) || !strings.Contains(err.Error(), "CKR_PIN_INCORRECT") || strings.Contains(err.Error(), "11112222") {
			t.Fatalf("%v, want ErrDenied with the code and without the PIN", err)
		}
		remembered = strings.Contains(err.Error(), "not tried again until the PIN file changes")
	}
	p.setPIN(t, userPIN)
	deadline := time.Now().Add(patience)
	for {
		s, err := open()
		if err == nil {
			sign(t, s)
			break
		}
		if !errors.Is(err, kms.ErrDenied) || time.Now().After(deadline) {
			t.Fatalf("the PIN file is right now, still: %v", err)
		}
	}
	p.stop(t)
	if said := p.said.String(); strings.Contains(said, "11112222") || strings.Contains(said, userPIN) {
		t.Errorf("the log holds a PIN:\n%s", said)
	}
}

func TestPINFromTheEnvironment(t *testing.T) {
	p := newHelper(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	t.Setenv("HSM_PIN", userPIN)
	p.args = []string{"--module", softHSM(t), "--socket", p.socket, "--pin-env", "HSM_PIN"} // the only token
	p.start(t)
	sign(t, p.open(t, signingURI, ""))
}

// A token that comes later is found without a restart.
func TestMissingToken(t *testing.T) {
	h := newHSM(t)
	h.initToken(t, "another")
	p := startHelper(t, h)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	cfg := kms.Config{URI: signingURI, Store: p.store(t)}
	_, err := kms.Open(ctx, cfg)
	if !errors.Is(err, kms.ErrUnavailable) || !strings.Contains(err.Error(), `CKR_TOKEN_NOT_PRESENT: no token "release" is there; there are: "another"`) {
		t.Fatalf("%v, want ErrUnavailable naming the tokens there are", err)
	}
	h.initToken(t, tokenTag)
	h.change(t, changes{Make: []newKey{{Kind: "P-256", Label: "signing", ID: "01"}}})
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := kms.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	sign(t, s)
}

func TestMissingHelper(t *testing.T) {
	p := newHelper(t, newHSM(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := kms.Open(ctx, kms.Config{URI: signingURI, Store: p.store(t)})
	if !errors.Is(err, kms.ErrUnavailable) || !strings.Contains(err.Error(), "sealwright-pkcs11 --socket "+p.socket+" --module MODULE.so --pin-file FILE") {
		t.Errorf("%v, want ErrUnavailable saying how to start the helper", err)
	}
}

func TestHelperRestarts(t *testing.T) {
	p := startHelper(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	s := p.open(t, signingURI, "")
	sign(t, s)
	p.stop(t)
	p.awaitNotice(t, "STOPPING=1")
	if _, err := os.Lstat(p.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Sign(ctx, nil); !errors.Is(err, kms.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("signing without a helper: %v, want ErrUnavailable", err)
	}
	p.start(t)
	sign(t, s)
}

// The helper is stopped with the request in hand, then killed.
func TestHelperIsKilledWhileItSigns(t *testing.T) {
	p := startHelper(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	proxy := newProxy(t, p.socket)
	s, err := kms.Open(t.Context(), kms.Config{URI: signingURI, Store: storeAt(t, proxy.socket)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	p.freeze(t)
	proxy.forget()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := s.Sign(ctx, []byte("message"))
		failed <- err
	}()
	proxy.await(t)
	p.kill(t)
	if err := <-failed; !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if ctx.Err() != nil {
		t.Error("the caller waited to its deadline")
	}
	p.start(t) // and replaces the socket that the dead one left
	sign(t, s)
}

// A proxy stands before a helper and tells when a request passes.
type proxy struct {
	socket string
	seen   chan struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{socket: filepath.Join(filepath.Dir(target), "proxy"), seen: make(chan struct{}, 1)}
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.pass(c, target) })
		}
	})
	return p
}

func (p *proxy) pass(client net.Conn, target string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		defer func() { _ = server.Close() }()
		buf := make([]byte, 16<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
			select {
			case p.seen <- struct{}{}:
			default:
			}
		}
	}()
	_, _ = io.Copy(client, server)
}

func (p *proxy) forget() {
	select {
	case <-p.seen:
	default:
	}
}

func (p *proxy) await(t *testing.T) {
	t.Helper()
	select {
	case <-p.seen:
	case <-time.After(patience):
		t.Fatal("no request came")
	}
}

// Two sessions serve many callers.
func TestManyCallersFewSessions(t *testing.T) {
	p := startHelper(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}, newKey{Kind: "RSA-2048", Label: "rsa", ID: "02"}), "--sessions", "2")
	ec, rsa := p.open(t, signingURI, ""), p.open(t, "pkcs11:object=rsa", policy.RSAPSSSHA256)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range 64 {
		for _, s := range []kms.Signer{ec, rsa} {
			group.Go(func() error {
				message := fmt.Appendf(nil, "message %d", i)
				signature, err := s.Sign(ctx, message)
				if err != nil {
					return err
				}
				return s.Public().Verify(message, signature)
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// The signer stays with the key that it was opened with.
func TestKeyIsReplaced(t *testing.T) {
	h := newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"})
	p := startHelper(t, h)
	s := p.open(t, signingURI, "")
	sign(t, s)
	h.change(t, changes{Make: []newKey{{Kind: "P-256", Label: "signing", ID: "02"}}}) // rotation
	sign(t, s)
	next := p.open(t, "pkcs11:object=signing;id=%02", "")
	sign(t, next)
	if s.Version() != "01" || next.Version() != "02" || s.Public().Fingerprint() == next.Public().Fingerprint() {
		t.Errorf("versions %s and %s, want 01 and 02 of two keys", s.Version(), next.Version())
	}
	h.change(t, changes{Delete: []string{"signing"}})
	if _, err := s.Sign(t.Context(), nil); !errors.Is(err, kms.ErrNotFound) {
		t.Errorf("signing with a deleted key: %v, want ErrNotFound", err)
	}
	h.change(t, changes{Make: []newKey{{Kind: "P-256", Label: "signing", ID: "01"}}})
	if _, err := s.Sign(t.Context(), nil); !errors.Is(err, kms.ErrKeyMismatch) {
		t.Errorf("signing with another key in its place: %v, want ErrKeyMismatch", err)
	}
}

func TestSocketIsPrivate(t *testing.T) {
	p := startHelper(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	info, err := os.Stat(p.socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("socket has mode %v, want 0600", info.Mode())
	}
	t.Run("a second helper", func(t *testing.T) {
		second := *p
		second.launch(t)
		if code := second.exit(t); code != exitFailed || !strings.Contains(second.said.String(), "another helper is listening") {
			t.Errorf("exit %d, want 1:\n%s", code, second.said)
		}
		sign(t, p.open(t, signingURI, ""))
	})
	t.Run("a file in the way", func(t *testing.T) {
		second := newHelper(t, p.hsm)
		if err := os.WriteFile(second.socket, []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
		second.launch(t)
		if code := second.exit(t); code != exitFailed || !strings.Contains(second.said.String(), "no socket is in the way") {
			t.Errorf("exit %d, want 1:\n%s", code, second.said)
		}
		if kept, err := os.ReadFile(second.socket); err != nil || string(kept) != "kept" {
			t.Errorf("the file is gone: %q, %v", kept, err)
		}
	})
	t.Run("another user", func(t *testing.T) {
		if mayUse(1001, 1000) || !mayUse(1000, 1000) || !mayUse(0, 1000) || mayUse(1000, 0) {
			t.Error("allowed are the helper's own user and root")
		}
		if os.Geteuid() == 0 {
			asAnotherUser(t, p)
		}
	})
}

// asAnotherUser asks the helper as nobody, with a mode of the socket that lets
// nobody in. Only root can be another user.
func asAnotherUser(t *testing.T, p *helper) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatalf("%v; install it with: apt-get install curl", err)
	}
	if err := errors.Join(os.Chmod(p.dir, 0o755), os.Chmod(p.socket, 0o666)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(curl, "--silent", "--show-error", "--unix-socket", p.socket, "http://helper"+pkcs11api.KeyPath+"?object=signing")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), pkcs11api.CodePeer) || !strings.Contains(string(out), "not user 65534") {
		t.Errorf("%v: %s, want %s", err, out, pkcs11api.CodePeer)
	}
}

// Requests that a daemon does not send.
func TestMalformedRequests(t *testing.T) {
	p := startHelper(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.socket)
	}}}
	defer client.CloseIdleConnections()
	digest := `"` + strings.Repeat("A", 43) + `="` // 32 octets
	for _, tt := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/v1/key", "", 400, pkcs11api.CodeRequest},
		{"GET", "/v1/key?id=x", "", 400, pkcs11api.CodeRequest},
		{"GET", "/v2/key?id=01", "", 400, pkcs11api.CodeRequest},
		{"GET", "/v1/sign", "", 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", "", 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", "{", 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", `{"pin":"1"}`, 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", `{"key":{"object":"signing"},"algorithm":"ECDSA_SHA_256","digest":` + digest + `} {}`, 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", `{"key":{"object":"signing"},"algorithm":"ECDSA_SHA_256","digest":"AAAA"}`, 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", `{"key":{"object":"` + strings.Repeat("a", 20<<10) + `"}}`, 400, pkcs11api.CodeRequest},
		{"POST", "/v1/sign", `{"key":{"object":"signing"},"algorithm":"SM2DSA_SM3","digest":` + digest + `}`, 422, pkcs11api.CodeAlgorithm},
		{"POST", "/v1/sign", `{"key":{"object":"signing"},"algorithm":"RSA_PSS_SHA_256","digest":` + digest + `}`, 422, pkcs11api.CodeAlgorithm},
		{"POST", "/v1/sign", `{"key":{"object":"signing"},"algorithm":"ECDSA_SHA_256","digest":` + digest + `}`, 200, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://helper"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.code) {
			t.Errorf("%s %s %.80s: %d %s, want %d %s", tt.method, tt.path, tt.body, resp.StatusCode, body, tt.status, tt.code)
		}
	}
}

// BenchmarkSign measures the whole way: daemon's side, socket, helper, SoftHSM.
func BenchmarkSign(b *testing.B) {
	p := startHelper(b, newTestToken(b, newKey{Kind: "P-256", Label: "signing", ID: "01"}, newKey{Kind: "RSA-2048", Label: "rsa", ID: "02"}))
	for _, bb := range []struct {
		uri string
		alg policy.Algorithm
	}{{signingURI, policy.ECDSASHA256}, {"pkcs11:object=rsa", policy.RSAPSSSHA256}} {
		b.Run(string(bb.alg), func(b *testing.B) {
			s := p.open(b, bb.uri, bb.alg)
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Sign(b.Context(), []byte("message")); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}
