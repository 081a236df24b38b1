package kms_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealwright/sealwright/engine/budget"
	"github.com/sealwright/sealwright/kms"
)

// A adapterFixture is a key store behind a loopback server that stays up
// while it misbehaves.
type adapterFixture struct {
	// open returns a signer whose store is new and not slowed by its budget.
	open func(t *testing.T, change func(*kms.StoreConfig)) (kms.Signer, *kms.Store)
	// onSign answers requests for signatures; nil ends that.
	onSign func(f http.HandlerFunc)
	// refuse answers in the vendor's form.
	refuse func(w http.ResponseWriter, status int, code, message string)
	// throttled and disabled are the vendor's answers.
	throttled, disabled func(w http.ResponseWriter)
}

// adapterLimits do not slow a test down.
func adapterLimits() budget.Limits { return budget.Limits{RequestsPerSecond: 1e5, Concurrency: 64} }

func adapterDeadline(t *testing.T, after time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	t.Cleanup(cancel)
	return ctx
}

// testAdapterFaults tries what can go wrong between a signer and its vendor.
func testAdapterFaults(t *testing.T, vendor adapterFixture) {
	t.Run("throttled then ok", func(t *testing.T) { adapterThrottledThenOK(t, vendor) })
	t.Run("asked to wait longer than there is time", func(t *testing.T) { adapterRetryAfter(t, vendor) })
	t.Run("outage", func(t *testing.T) { adapterOutage(t, vendor) })
	t.Run("hang", func(t *testing.T) { adapterHang(t, vendor) })
	t.Run("slow attempt", func(t *testing.T) { adapterSlowAttempt(t, vendor) })
	t.Run("disabled key", func(t *testing.T) { adapterDisabled(t, vendor) })
	t.Run("bad answers", func(t *testing.T) { adapterBadAnswers(t, vendor) })
}

func adapterThrottledThenOK(t *testing.T, vendor adapterFixture) {
	signer, store := vendor.open(t, nil)
	var asked atomic.Int64
	vendor.onSign(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 {
			vendor.onSign(nil)
		}
		vendor.throttled(w)
	})
	if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
		t.Fatal(err)
	}
	counts := store.Requests()
	if throttled, ok := counts[kms.Request{Operation: "sign", Outcome: "throttled"}], counts[kms.Request{Operation: "sign", Outcome: "ok"}]; throttled != 2 || ok != 1 {
		t.Errorf("throttled %d times, ok %d times; want 2 and 1: %v", throttled, ok, counts)
	}
}

func adapterRetryAfter(t *testing.T, vendor adapterFixture) {
	signer, _ := vendor.open(t, nil)
	defer vendor.onSign(nil)
	vendor.onSign(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		vendor.throttled(w)
	})
	_, err := signer.Sign(adapterDeadline(t, time.Minute), []byte("message"))
	var answer *kms.StoreError
	if !errors.Is(err, kms.ErrThrottled) || !errors.As(err, &answer) || answer.RetryAfter != time.Hour || answer.Code == "" {
		t.Errorf("error %v with %+v", err, answer)
	}
}

// adapterOnce answers one request for a signature with f, the others not.
func adapterOnce(vendor adapterFixture, f http.HandlerFunc) {
	vendor.onSign(func(w http.ResponseWriter, r *http.Request) {
		vendor.onSign(nil)
		f(w, r)
	})
}

// adapterMadeUpFor checks that a fault that passes is not the caller's.
func adapterMadeUpFor(t *testing.T, vendor adapterFixture, fault http.HandlerFunc) {
	t.Helper()
	signer, store := vendor.open(t, nil)
	adapterOnce(vendor, fault)
	if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
		t.Error(err)
	}
	if n := store.Requests()[kms.Request{Operation: "sign", Outcome: "unavailable"}]; n != 1 {
		t.Errorf("counted as unavailable %d times, want once", n)
	}
}

func adapterOutage(t *testing.T, vendor adapterFixture) {
	for name, fault := range map[string]http.HandlerFunc{
		"500": func(w http.ResponseWriter, _ *http.Request) { vendor.refuse(w, 500, "", "") },
		"503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"502 page": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
		},
		"dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) { adapterMadeUpFor(t, vendor, fault) })
	}
	t.Run("lasting", func(t *testing.T) {
		signer, store := vendor.open(t, nil)
		defer vendor.onSign(nil)
		vendor.onSign(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		if _, err := signer.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
		if n := store.Requests()[kms.Request{Operation: "sign", Outcome: "unavailable"}]; n < 2 {
			t.Errorf("tried %d times, want it tried again", n)
		}
	})
	t.Run("longer than there is time", func(t *testing.T) {
		signer, _ := vendor.open(t, nil)
		defer vendor.onSign(nil)
		vendor.onSign(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(503)
		})
		ctx := adapterDeadline(t, time.Minute)
		if _, err := signer.Sign(ctx, []byte("message")); !errors.Is(err, kms.ErrUnavailable) || ctx.Err() != nil {
			t.Errorf("error %v, want ErrUnavailable before the deadline", err)
		}
	})
}

func adapterHang(t *testing.T, vendor adapterFixture) {
	signer, _ := vendor.open(t, nil)
	defer vendor.onSign(nil)
	vendor.onSign(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	began := time.Now()
	_, err := signer.Sign(adapterDeadline(t, 200*time.Millisecond), []byte("message"))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("error %v after %s", err, time.Since(began))
	}
	vendor.onSign(nil)
	if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
		t.Errorf("signing after a hang: %v", err)
	}
}

func adapterSlowAttempt(t *testing.T, vendor adapterFixture) {
	signer, _ := vendor.open(t, func(cfg *kms.StoreConfig) { cfg.Timeout = 300 * time.Millisecond })
	defer vendor.onSign(nil)
	adapterOnce(vendor, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if _, err := signer.Sign(t.Context(), []byte("message")); err != nil {
		t.Errorf("one attempt that got no answer was not made up for: %v", err)
	}
}

func adapterDisabled(t *testing.T, vendor adapterFixture) {
	signer, store := vendor.open(t, nil)
	defer vendor.onSign(nil)
	vendor.onSign(func(w http.ResponseWriter, _ *http.Request) { vendor.disabled(w) })
	_, err := signer.Sign(t.Context(), []byte("message"))
	if !errors.Is(err, kms.ErrKeyState) || strings.Count(err.Error(), kms.ErrKeyState.Error()) != 1 {
		t.Errorf("error %v, want ErrKeyState said once", err)
	}
	if n := store.Requests()[kms.Request{Operation: "sign", Outcome: "failed"}]; n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func adapterBadAnswers(t *testing.T, vendor adapterFixture) {
	write := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body)
		}
	}
	tooLarge := write(`{"signature":"` + strings.Repeat("A", 2<<20) + `"}`)
	for name, answer := range map[string]http.HandlerFunc{
		"empty":          write(""),
		"no JSON":        write("<html>welcome to the hotel's network</html>"),
		"truncated JSON": write(`{"keyId":"`),
		"a list":         write(`[1,2,3]`),
		"too large":      tooLarge,
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"Value":"`)
		},
	} {
		t.Run(name, func(t *testing.T) { adapterMadeUpFor(t, vendor, answer) })
	}
	t.Run("always too large", func(t *testing.T) {
		signer, _ := vendor.open(t, nil)
		defer vendor.onSign(nil)
		vendor.onSign(tooLarge)
		if _, err := signer.Sign(t.Context(), []byte("message")); !errors.Is(err, kms.ErrUnavailable) || len(err.Error()) > 600 {
			t.Errorf("error %.600v, want a short ErrUnavailable", err)
		}
	})
	t.Run("redirect", func(t *testing.T) {
		signer, _ := vendor.open(t, nil)
		defer vendor.onSign(nil)
		vendor.onSign(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		})
		var answer *kms.StoreError
		if _, err := signer.Sign(t.Context(), []byte("message")); !errors.As(err, &answer) || answer.Code != "HTTP 307" {
			t.Errorf("error %v, want HTTP 307", err)
		}
	})
}
