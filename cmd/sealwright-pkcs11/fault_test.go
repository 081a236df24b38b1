//go:build cgo

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms/pkcs11api"
)

// A faulty is SoftHSM that breaks on purpose.
type faulty struct {
	*pkcs11.Ctx

	mu       sync.Mutex
	logins   int
	opened   int
	flags    uint                          // added to the token's
	fail     map[string][]error            // by call, one after the other
	blocking map[string]chan chan struct{} // by call: sends a channel, waits until it is closed
}

func (f *faulty) step(call string) error {
	f.mu.Lock()
	block := f.blocking[call]
	var err error
	if left := f.fail[call]; len(left) > 0 {
		err, f.fail[call] = left[0], left[1:]
	}
	f.mu.Unlock()
	if block != nil {
		done := make(chan struct{})
		block <- done
		<-done
	}
	return err
}

func (f *faulty) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	f.mu.Lock()
	f.logins++
	f.mu.Unlock()
	if err := f.step("Login"); err != nil {
		return err
	}
	return f.Ctx.Login(s, user, pin)
}

func (f *faulty) Initialize(o ...pkcs11.InitializeOption) error {
	if err := f.step("Initialize"); err != nil {
		return err
	}
	return f.Ctx.Initialize(o...)
}

func (f *faulty) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	info, err := f.Ctx.GetTokenInfo(slot)
	info.Flags |= f.flags
	return info, err
}

func (f *faulty) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	if err := f.step("OpenSession"); err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.opened++
	f.mu.Unlock()
	return f.Ctx.OpenSession(slot, flags)
}

func (f *faulty) FindObjectsInit(s pkcs11.SessionHandle, a []*pkcs11.Attribute) error {
	if err := f.step("FindObjectsInit"); err != nil {
		return err
	}
	return f.Ctx.FindObjectsInit(s, a)
}

func (f *faulty) SignInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, o pkcs11.ObjectHandle) error {
	if err := f.step("SignInit"); err != nil {
		return err
	}
	return f.Ctx.SignInit(s, m, o)
}

func (f *faulty) Sign(s pkcs11.SessionHandle, m []byte) ([]byte, error) {
	if err := f.step("Sign"); err != nil {
		return nil, err
	}
	return f.Ctx.Sign(s, m)
}

// newFaulty returns a token in this process whose module can be broken. The
// module is not connected to yet.
func newFaulty(t *testing.T, h hsm) (*faulty, *token) {
	t.Helper()
	t.Setenv("SOFTHSM2_CONF", h.conf)
	module := pkcs11.New(softHSM(t))
	if module == nil {
		t.Fatal("the module cannot be loaded")
	}
	f := &faulty{Ctx: module, fail: map[string][]error{}, blocking: map[string]chan chan struct{}{}}
	tok := newToken(f, tokenConfig{label: tokenTag, sessions: 2, pin: &pin{fixed: userPIN}}, zap.NewNop())
	tok.pause = 0
	t.Cleanup(func() { tok.close(); module.Destroy() })
	return f, tok
}

func signRequest() pkcs11api.SignRequest {
	digest := sha256.Sum256([]byte("message"))
	return pkcs11api.SignRequest{Key: pkcs11api.Selector{Object: "signing"}, Algorithm: policy.ECDSASHA256, Digest: digest[:]}
}

// times repeats an error.
func times(n int, rv uint) []error {
	var all []error
	for range n {
		all = append(all, pkcs11.Error(rv))
	}
	return all
}

func TestLostConnectionsAreMadeAnew(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	if err := tok.warmUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"OpenSession", "FindObjectsInit", "SignInit", "Sign"} {
		for _, rv := range []uint{pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_USER_NOT_LOGGED_IN,
			pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED} {
			// A search or a new session is needed only at first.
			tok.conn = nil
			if _, err := tok.sign(t.Context(), signRequest()); call == "SignInit" || call == "Sign" {
				if err != nil {
					t.Fatal(err)
				}
			} else {
				tok.conn.idle, tok.conn.keys = nil, map[pkcs11api.Selector]*key{}
			}
			before := f.logins
			f.fail[call] = times(1, rv)
			if _, err := tok.sign(t.Context(), signRequest()); err != nil {
				t.Errorf("%s once from %s: %v", pkcs11.Error(rv), call, err)
			}
			if len(f.fail[call]) > 0 || f.logins != before+1 {
				t.Errorf("%s from %s: %d logins, want one more", pkcs11.Error(rv), call, f.logins-before)
			}
		}
	}
}

// What a real module says when its library was ended behind our back.
func TestModuleIsEndedBehindOurBack(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	for range 3 {
		if _, err := tok.sign(t.Context(), signRequest()); err != nil {
			t.Fatal(err)
		}
		if err := f.Finalize(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaultsAreTold(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	for _, tt := range []struct {
		rv      uint
		status  int
		code    string
		asked   int // how often the token is, at most
		connect int // how often it is connected to
	}{
		{pkcs11.CKR_MECHANISM_INVALID, http.StatusUnprocessableEntity, "CKR_MECHANISM_INVALID", 1, 0},
		{pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, http.StatusConflict, "CKR_KEY_FUNCTION_NOT_PERMITTED", 1, 0},
		{pkcs11.CKR_DEVICE_MEMORY, http.StatusTooManyRequests, "CKR_DEVICE_MEMORY", 1, 0},
		{pkcs11.CKR_FUNCTION_FAILED, http.StatusServiceUnavailable, "CKR_FUNCTION_FAILED", 1, 0},
		{pkcs11.CKR_VENDOR_DEFINED | 0x17, http.StatusServiceUnavailable, "CKR_0x80000017", 1, 0},
		{pkcs11.CKR_DEVICE_ERROR, http.StatusServiceUnavailable, "CKR_DEVICE_ERROR", 2, 1},
		{pkcs11.CKR_TOKEN_NOT_PRESENT, http.StatusServiceUnavailable, "CKR_TOKEN_NOT_PRESENT", 2, 1},
		{pkcs11.CKR_KEY_HANDLE_INVALID, http.StatusNotFound, "CKR_KEY_HANDLE_INVALID", 2, 0},
	} {
		t.Run(tt.code, func(t *testing.T) {
			if _, err := tok.sign(t.Context(), signRequest()); err != nil {
				t.Fatal(err)
			}
			before := f.logins
			f.fail["SignInit"] = times(10, tt.rv)
			_, err := tok.sign(t.Context(), signRequest())
			got := faultOf(err)
			if err == nil || got.status != tt.status || got.code != tt.code {
				t.Errorf("%v, want %d %s", err, tt.status, tt.code)
			}
			if asked := 10 - len(f.fail["SignInit"]); asked != tt.asked || f.logins-before != tt.connect {
				t.Errorf("the token was asked %d times and connected to %d times, want %d and %d", asked, f.logins-before, tt.asked, tt.connect)
			}
			f.fail["SignInit"] = nil
		})
	}
}

// A key that always fails as if the token were lost must not make us log in for
// each request.
func TestReconnectsAreFarBetween(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	tok.pause = time.Hour
	f.fail["SignInit"] = times(100, pkcs11.CKR_GENERAL_ERROR)
	for range 20 {
		if _, err := tok.sign(t.Context(), signRequest()); err == nil {
			t.Fatal("no error")
		}
	}
	if f.logins != 1 {
		t.Errorf("%d logins, want 1", f.logins)
	}
}

func TestRefusedPINIsNotTriedAgain(t *testing.T) {
	for _, rv := range []uint{pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LEN_RANGE} {
		t.Run(pkcs11.Error(rv).Error(), func(t *testing.T) {
			f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
			f.fail["Login"] = times(1, rv)
			for range 20 {
				_, err := tok.sign(t.Context(), signRequest())
				if got := faultOf(err); err == nil || got.status != http.StatusForbidden || got.code != nameOf(pkcs11.Error(rv)) {
					t.Fatalf("%v, want 403 %s", err, pkcs11.Error(rv))
				}
			}
			if f.logins != 1 {
				t.Errorf("%d logins, want 1", f.logins)
			}
		})
	}
}

// Failures of the way to the token say nothing against the PIN.
func TestOtherFailuresOfLoginAreTriedAgain(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	f.fail["Login"] = times(1, pkcs11.CKR_DEVICE_ERROR)
	if _, err := tok.sign(t.Context(), signRequest()); err == nil {
		t.Fatal("no error")
	}
	if _, err := tok.sign(t.Context(), signRequest()); err != nil {
		t.Fatal(err)
	}
}

func TestPINIsNotTriedWhereItMayLockTheToken(t *testing.T) {
	for code, flag := range map[string]uint{"CKR_PIN_LOCKED": pkcs11.CKF_USER_PIN_LOCKED, pkcs11api.CodeFinalTry: pkcs11.CKF_USER_PIN_FINAL_TRY} {
		f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
		f.flags = flag
		_, err := tok.sign(t.Context(), signRequest())
		if got := faultOf(err); err == nil || got.status != http.StatusForbidden || got.code != code || f.logins != 0 {
			t.Errorf("%v after %d logins, want 403 %s without one", err, f.logins, code)
		}
	}
}

// The PIN that a key wants for each signature is guarded in the same way.
func TestPINForEachSignature(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01", Always: true}))
	for want := 2; want <= 3; want++ { // one for the connection
		if _, err := tok.sign(t.Context(), signRequest()); err != nil {
			t.Fatal(err)
		}
		if f.logins != want {
			t.Errorf("%d logins, want %d", f.logins, want)
		}
	}
	f.fail["Login"] = times(1, pkcs11.CKR_PIN_INCORRECT)
	for range 5 {
		if _, err := tok.sign(t.Context(), signRequest()); err == nil || faultOf(err).code != "CKR_PIN_INCORRECT" {
			t.Errorf("%v, want CKR_PIN_INCORRECT", err)
		}
	}
	if f.logins != 4 {
		t.Errorf("%d logins, want 4", f.logins)
	}
}

func TestTokensAreToldApart(t *testing.T) {
	h := newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"})
	h.initToken(t, tokenTag)
	f, tok := newFaulty(t, h)
	_, err := tok.sign(t.Context(), signRequest())
	if err == nil || faultOf(err).code != pkcs11api.CodeTokens {
		t.Fatalf("%v, want %s", err, pkcs11api.CodeTokens)
	}
	slots, err := f.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	signed := 0
	for _, slot := range slots {
		info, err := f.Ctx.GetTokenInfo(slot)
		if err != nil || info.Label != tokenTag {
			continue
		}
		tok.cfg.serial = info.SerialNumber
		tok.conn = nil
		if _, err := tok.sign(t.Context(), signRequest()); err == nil {
			signed++
		} else if faultOf(err).code != pkcs11api.CodeNoKey {
			t.Error(err)
		}
	}
	if signed != 1 {
		t.Errorf("%d of two tokens have the key, want 1", signed)
	}
}

// A failed operation may have left a session in the middle of one.
func TestFailedSessionsAreNotUsedAgain(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	for range 3 {
		if _, err := tok.sign(t.Context(), signRequest()); err != nil {
			t.Fatal(err)
		}
	}
	if f.opened != 2 {
		t.Fatalf("%d sessions opened, want 2: one that keeps the login and one that is used again", f.opened)
	}
	f.fail["Sign"] = times(1, pkcs11.CKR_FUNCTION_FAILED)
	if _, err := tok.sign(t.Context(), signRequest()); err == nil {
		t.Fatal("no error")
	}
	if _, err := tok.sign(t.Context(), signRequest()); err != nil || f.opened != 3 {
		t.Errorf("%v with %d sessions opened, want 3", err, f.opened)
	}
}

// Two calls hang in the module: a third waits as long as its caller, and no
// longer; nobody gets at the module to connect anew.
func TestHangingModule(t *testing.T) {
	f, tok := newFaulty(t, newTestToken(t, newKey{Kind: "P-256", Label: "signing", ID: "01"}))
	if err := tok.warmUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	hang := make(chan chan struct{})
	f.blocking["Sign"] = hang
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := tok.sign(context.WithoutCancel(t.Context()), signRequest())
			results <- err
		}()
	}
	first, second := <-hang, <-hang
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := tok.sign(ctx, signRequest())
	if got := faultOf(err); err == nil || got.status != http.StatusTooManyRequests || got.code != pkcs11api.CodeBusy {
		t.Errorf("%v, want 429 %s", err, pkcs11api.CodeBusy)
	}
	if err := tok.connect(ctx, tok.current()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connecting anew while calls hang: %v", err)
	}
	close(first)
	close(second)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	f.mu.Lock()
	f.blocking["Sign"] = nil
	f.mu.Unlock()
	if _, err := tok.sign(t.Context(), signRequest()); err != nil {
		t.Errorf("after the calls came back: %v", err)
	}
}
