package kms_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/kms/kmstest/vaulttest"
)

// gate lets requests for signatures wait until it is opened.
func gate(server *vaulttest.Server) (opened chan struct{}) {
	opened = make(chan struct{})
	server.Intercept(func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		if vaultSigning(r) {
			select {
			case <-opened:
			case <-r.Context().Done():
				return true
			}
		}
		return false
	})
	return opened
}

func TestVaultCallersShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		store := newStore(t, cfg)
		s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
		sign(t, s, payload) // who is alone does not wait for others
		opened := gate(server)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				message := fmt.Appendf(nil, "message %d", i)
				signature, err := s.Sign(t.Context(), message)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Public().Verify(message, signature); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			})
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		close(opened)
		wg.Wait()
		if got, want := server.Batches(), []int{1, 1, 63}; !slices.Equal(got, want) {
			t.Errorf("requests held %v digests, want %v", got, want)
		}
		if n := requestsTo(store, "sign"); n != 3 {
			t.Errorf("the store counted %d requests, want 3", n)
		}
	})
}

func TestVaultOneOfManyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		store := newStore(t, cfg)
		s := openConfig(t, kms.Config{URI: "hashivault://release", Store: store})
		opened := gate(server)
		results := 0
		server.Bend(func(o *vaulttest.Output) {
			if results++; results == 3 {
				*o = vaulttest.Output{Error: "refusing to use soft-deleted key"}
			}
		})
		errs := make(chan error, 10)
		for i := range 10 {
			go func() {
				_, err := s.Sign(t.Context(), payload)
				errs <- err
			}()
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		close(opened)
		var failed int
		for range 10 {
			if err := <-errs; err != nil {
				failed++
				wantError(t, err, kms.ErrKeyState, "soft-deleted")
			}
		}
		if failed != 1 || requestsTo(store, "sign") != 2 {
			t.Errorf("%d of 10 signatures failed in %d requests, want one in two", failed, requestsTo(store, "sign"))
		}
	})
}

// Who leaves does so alone, and at once.
func TestVaultCallersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		s := openVaultKey(t, cfg, "hashivault://release")
		opened := gate(server)
		first, leaveFirst := context.WithCancel(t.Context())
		impatient, leave := context.WithCancel(t.Context())
		type outcome struct {
			impatient bool
			err       error
		}
		outcomes := make(chan outcome, 10)
		for i := range 10 {
			ctx, leaves := t.Context(), i%2 == 0 // the first one has its request under way
			switch {
			case i == 0:
				ctx = first
			case leaves:
				ctx = impatient
			}
			go func() {
				_, err := s.Sign(ctx, payload)
				outcomes <- outcome{leaves, err}
			}()
			synctest.Wait()
		}
		// Those who wait leave before the next request is made up.
		leave()
		synctest.Wait()
		leaveFirst()
		for range 5 {
			if o := <-outcomes; !o.impatient || !errors.Is(o.err, context.Canceled) {
				t.Errorf("got %v, want those to leave whose context ended", o)
			}
		}
		synctest.Wait()
		close(opened)
		for range 5 {
			if o := <-outcomes; o.impatient || o.err != nil {
				t.Errorf("got %v, want signatures for those who stayed", o)
			}
		}
		if got, want := server.Batches(), []int{5}; !slices.Equal(got, want) {
			t.Errorf("requests held %v digests, want %v: nobody waits for the others", got, want)
		}
	})
}

// A request that hangs holds up the others no longer than its timeout.
func TestVaultOthersBehindAHungRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		s := openVaultKey(t, cfg, "hashivault://release")
		first := true
		server.Intercept(func(_ string, w http.ResponseWriter, r *http.Request) bool {
			if hangs := first; hangs {
				first = false
				hang(w, r)
				return true
			}
			return false
		})
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := s.Sign(deadline(t, time.Minute), payload); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > kms.DefaultTimeout+time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// Signatures of one key by two algorithms are never in one request.
func TestVaultAlgorithmsDoNotMix(t *testing.T) {
	server, cfg := startVault(t)
	server.CreateKey(t, "transit/rsa", "rsa-2048")
	store := newStore(t, cfg)
	var wg sync.WaitGroup
	for _, alg := range []policy.Algorithm{policy.RSAPSSSHA256, policy.RSAPKCS1SHA256, policy.RSAPSSSHA512} {
		s := openConfig(t, kms.Config{URI: "hashivault://rsa", Store: store, Algorithm: alg})
		for range 10 {
			wg.Go(func() {
				if _, err := s.Sign(t.Context(), payload); err != nil {
					t.Errorf("%s: %v", alg, err)
				}
			})
		}
	}
	wg.Wait()
}

func TestVaultClosesUnderAHungRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, cfg := vaultWorld(t)
		s, err := kms.Open(t.Context(), kms.Config{URI: "hashivault://release", Store: newStore(t, cfg)})
		if err != nil {
			t.Fatal(err)
		}
		gate(server) // never opened
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := s.Sign(t.Context(), payload)
				errs <- err
			}()
			synctest.Wait()
		}
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "still under way") {
			t.Errorf("Close returned %v", err)
		}
		for range 2 {
			if err := <-errs; err == nil {
				t.Error("a signature came out of a closed signer")
			}
		}
		synctest.Wait()
	})
}

// BenchmarkVault compares one caller, whose requests hold one digest each, with
// many, whose requests hold many; with a server that is near, and one that
// takes two milliseconds to reach. The server is in this process, and does the
// same work for a signature in all of them.
func BenchmarkVault(b *testing.B) {
	for _, k := range []struct {
		kind string
		alg  policy.Algorithm
		away time.Duration
	}{{"ecdsa-p256", policy.ECDSASHA256, 0}, {"ecdsa-p256", policy.ECDSASHA256, 2 * time.Millisecond}, {"rsa-2048", policy.RSAPSSSHA256, 0}} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/away=%s/callers=%d", k.kind, k.away, callers), func(b *testing.B) {
				server, cfg := startVault(b)
				server.CreateKey(b, "transit/bench", k.kind)
				server.Intercept(func(string, http.ResponseWriter, *http.Request) bool { time.Sleep(k.away); return false })
				s := openConfig(b, kms.Config{URI: "hashivault://bench", Store: newStore(b, cfg), Algorithm: k.alg})
				b.ResetTimer()
				signByMany(b, s, b.N, callers)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sig/s")
				b.ReportMetric(float64(b.N)/float64(len(server.Batches())), "sig/request")
			})
		}
	}
}

// signByMany makes n signatures with so many callers at once.
func signByMany(t testing.TB, s kms.Signer, n, callers int) {
	t.Helper()
	work := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range work {
				if _, err := s.Sign(t.Context(), payload); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range n {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
}
