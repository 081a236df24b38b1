package kms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A stub is a signer of which a test chooses what it answers.
type stub struct {
	public *PublicKey
	sign   func(ctx context.Context, message []byte) ([]byte, error)
	close  func() error
}

func (s *stub) Sign(ctx context.Context, message []byte) ([]byte, error) { return s.sign(ctx, message) }
func (s *stub) Public() *PublicKey                                       { return s.public }
func (s *stub) Version() string                                          { return "" }
func (s *stub) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

func testKey(t *testing.T) (*ecdsa.PrivateKey, *PublicKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := NewPublicKey(&key.PublicKey, "")
	if err != nil {
		t.Fatal(err)
	}
	return key, public
}

func signWith(t *testing.T, key crypto.Signer, message []byte) []byte {
	t.Helper()
	signature, err := crypto.SignMessage(key, rand.Reader, message, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func TestBadSignaturesNeverLeave(t *testing.T) {
	key, public := testKey(t)
	other, otherPublic := testKey(t)
	message := []byte("message")
	good := signWith(t, key, message)
	s := &stub{public: public}
	v := verifying(s)
	for name, answer := range map[string][]byte{
		"another key's":     signWith(t, other, message),
		"another message's": signWith(t, key, []byte("other")),
		"cut":               good[:len(good)-1],
		"lengthened":        append(append([]byte(nil), good...), 0),
		"empty":             {},
		"nil":               nil,
	} {
		t.Run(name, func(t *testing.T) {
			s.sign = func(context.Context, []byte) ([]byte, error) { return answer, nil }
			got, err := v.Sign(t.Context(), message)
			if got != nil || !errors.Is(err, ErrInvalidSignature) {
				t.Errorf("got %x and %v, want ErrInvalidSignature alone", got, err)
			}
		})
	}
	t.Run("after the key was swapped", func(t *testing.T) {
		s.public = otherPublic
		s.sign = func(context.Context, []byte) ([]byte, error) { return signWith(t, other, message), nil }
		got, err := v.Sign(t.Context(), message)
		if got != nil || !errors.Is(err, ErrInvalidSignature) {
			t.Errorf("got %x and %v, want ErrInvalidSignature alone", got, err)
		}
		if v.Public() != public {
			t.Error("Public is no longer the key that was opened")
		}
	})
	t.Run("good", func(t *testing.T) {
		s.sign = func(context.Context, []byte) ([]byte, error) { return good, nil }
		if _, err := v.Sign(t.Context(), message); err != nil {
			t.Error(err)
		}
	})
}

func TestASignersErrorIsKept(t *testing.T) {
	_, public := testKey(t)
	throttled := errors.New("throttled")
	v := verifying(&stub{public: public, sign: func(context.Context, []byte) ([]byte, error) { return []byte{1}, throttled }})
	if got, err := v.Sign(t.Context(), nil); got != nil || !errors.Is(err, throttled) {
		t.Errorf("got %x and %v, want the signer's error alone", got, err)
	}
}

// A signer that ignores its context must not hold up the caller, and what it
// answers too late is thrown away although it verifies.
func TestDeadlineOfASlowSigner(t *testing.T) {
	key, public := testKey(t)
	message := []byte("message")
	good := signWith(t, key, message)
	synctest.Test(t, func(t *testing.T) {
		v := verifying(&stub{public: public, sign: func(context.Context, []byte) ([]byte, error) {
			time.Sleep(time.Minute) // synctest's time, which does not pass
			return good, nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		got, err := v.Sign(ctx, message)
		if got != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %x and %v, want DeadlineExceeded alone", got, err)
		}
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("waited %s, want 5s", waited)
		}
		synctest.Wait()
		time.Sleep(time.Minute) // the late answer comes in
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A lateContext has ended although nobody was told yet.
type lateContext struct {
	context.Context //nolint:containedctx // it is a context itself
	ended           atomic.Bool
}

func (c *lateContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}

func TestASignatureAfterTheDeadlineIsDropped(t *testing.T) {
	key, public := testKey(t)
	message := []byte("message")
	good := signWith(t, key, message)
	ctx := &lateContext{Context: context.Background()}
	v := verifying(&stub{public: public, sign: func(context.Context, []byte) ([]byte, error) {
		ctx.ended.Store(true)
		return good, nil
	}})
	if got, err := v.Sign(ctx, message); got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("got %x and %v, want Canceled alone", got, err)
	}
}

// The caller may reuse its buffer once Sign returned, even if the signer inside
// still reads it.
func TestMessageIsTheCallersAgain(t *testing.T) {
	_, public := testKey(t)
	started, goOn, read := make(chan struct{}), make(chan struct{}), make(chan string, 1)
	v := verifying(&stub{public: public, sign: func(_ context.Context, m []byte) ([]byte, error) {
		close(started)
		<-goOn
		read <- string(m)
		return nil, errors.New("too late")
	}})
	ctx, cancel := context.WithCancel(t.Context())
	message := []byte("message")
	done := make(chan error)
	go func() {
		_, err := v.Sign(ctx, message)
		done <- err
	}()
	<-started
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	clear(message)
	close(goOn)
	if got := <-read; got != "message" {
		t.Errorf("the signer inside was to sign %q", got)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestHungCallsAreBounded(t *testing.T) {
	_, public := testKey(t)
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		var calls atomic.Int64
		v := verifying(&stub{public: public, sign: func(context.Context, []byte) ([]byte, error) {
			calls.Add(1)
			<-hung
			return nil, errors.New("hung up")
		}})
		for range maxUnderWay + 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := v.Sign(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
			cancel()
		}
		if n := calls.Load(); n != maxUnderWay {
			t.Errorf("%d calls reached the key store, want %d", n, maxUnderWay)
		}
		start := time.Now()
		if err := v.Close(); err == nil {
			t.Error("Close hid that calls are still under way")
		}
		if waited := time.Since(start); waited != closeGrace {
			t.Errorf("Close waited %s, want %s", waited, closeGrace)
		}
		close(hung)
		synctest.Wait()
		for range 100 { // there is room again, but the signer is closed
			if _, err := v.Sign(t.Context(), nil); !errors.Is(err, ErrClosed) {
				t.Fatalf("signing after Close: got %v, want ErrClosed", err)
			}
		}
	})
}

func TestCloseWaitsForCallsAndLetsNoneIn(t *testing.T) {
	key, public := testKey(t)
	message := []byte("message")
	good := signWith(t, key, message)
	synctest.Test(t, func(t *testing.T) {
		var closes int
		goOn := make(chan struct{})
		v := verifying(&stub{
			public: public,
			sign:   func(context.Context, []byte) ([]byte, error) { <-goOn; return good, nil },
			close:  func() error { closes++; return nil },
		})
		signed, closed := make(chan error, 1), make(chan error, 1)
		go func() { _, err := v.Sign(t.Context(), message); signed <- err }()
		synctest.Wait()
		go func() { closed <- v.Close() }()
		synctest.Wait()
		if closes != 0 {
			t.Error("the signer inside was closed under a call")
		}
		if _, err := v.Sign(t.Context(), message); !errors.Is(err, ErrClosed) {
			t.Errorf("signing while closing: got %v, want ErrClosed", err)
		}
		close(goOn)
		if err := <-signed; err != nil {
			t.Errorf("the call under way: %v", err)
		}
		if err := errors.Join(<-closed, v.Close()); err != nil {
			t.Error(err)
		}
		if closes != 1 {
			t.Errorf("the signer inside was closed %d times, want once", closes)
		}
	})
}
