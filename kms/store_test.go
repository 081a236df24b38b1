package kms

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealwright/sealwright/engine/budget"
)

// quickStore returns a store that is hardly ever in the way.
func quickStore(t *testing.T, cfg StoreConfig) *Store {
	t.Helper()
	if cfg.Limits == (budget.Limits{}) {
		cfg.Limits = budget.Limits{RequestsPerSecond: 1e6, Concurrency: 1000}
	}
	s, err := NewStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// failsThenWorks returns a request that fails with errs one after the other, and then
// succeeds; and how often it was made.
func failsThenWorks(errs ...error) (request func(context.Context) error, made *int) {
	made = new(int)
	return func(context.Context) error {
		*made++
		if *made <= len(errs) {
			return errs[*made-1]
		}
		return nil
	}, made
}

// alwaysFails returns a request that always fails.
func alwaysFails(err error) (request func(context.Context) error, made *int) {
	made = new(int)
	return func(context.Context) error { *made++; return err }, made
}

func storeContext(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCallTriesWhatMayPassAgain(t *testing.T) {
	down, slow := &StoreError{Kind: ErrUnavailable}, &StoreError{Kind: ErrThrottled}
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{})
		request, made := failsThenWorks(down, slow, fmt.Errorf("signing: %w", down), slow)
		start := time.Now()
		if err := s.call(storeContext(t, time.Minute), "sign", request); err != nil || *made != 5 {
			t.Errorf("got %v after %d attempts, want success at the fifth", err, *made)
		}
		// 100, 200, 400 and 800 ms, of each at least half.
		if took := time.Since(start); took < 750*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("it took %s, want between 0.75s and 1.5s", took)
		}
		want := map[Request]int64{{"sign", "ok"}: 1, {"sign", "throttled"}: 2, {"sign", "unavailable"}: 2}
		if diff := cmp.Diff(want, s.Requests()); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestCallGivesUpAtOnce(t *testing.T) {
	for _, kind := range []error{ErrDenied, ErrNotFound, ErrKeyState, ErrUnsupported, ErrKeyMismatch, errors.New("other")} {
		s := quickStore(t, StoreConfig{})
		request, made := alwaysFails(&StoreError{Kind: kind})
		if err := s.call(t.Context(), "sign", request); !errors.Is(err, kind) || *made != 1 {
			t.Errorf("%v: got %v after %d attempts, want it after one", kind, err, *made)
		}
	}
}

func TestCallWithoutADeadlineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{})
		request, made := alwaysFails(&StoreError{Kind: ErrThrottled})
		if err := s.call(t.Context(), "sign", request); !errors.Is(err, ErrThrottled) || *made != maxAttempts {
			t.Errorf("got %v after %d attempts, want ErrThrottled after %d", err, *made, maxAttempts)
		}
	})
}

// The last error says more than that the time was up.
func TestCallEndsBeforeItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{})
		request, made := alwaysFails(&StoreError{Kind: ErrThrottled, Message: "slow down"})
		start := time.Now()
		err := s.call(storeContext(t, 20*time.Second), "sign", request)
		var answer *StoreError
		if !errors.As(err, &answer) || *made < 5 {
			t.Errorf("got %v after %d attempts, want the store's words after many", err, *made)
		}
		if took := time.Since(start); took > 20*time.Second || took < 5*time.Second {
			t.Errorf("it took %s of 20s", took)
		}
	})
}

func TestCallWaitsAsLongAsTheStoreAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{})
		pause := &StoreError{Kind: ErrThrottled, RetryAfter: 30 * time.Second}
		request, made := failsThenWorks(pause)
		start := time.Now()
		if err := s.call(storeContext(t, time.Minute), "sign", request); err != nil || *made != 2 {
			t.Errorf("got %v after %d attempts", err, *made)
		}
		if took := time.Since(start); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("it took %s, want 30s", took)
		}

		request, made = alwaysFails(pause)
		start = time.Now()
		if err := s.call(storeContext(t, 29*time.Second), "sign", request); !errors.Is(err, ErrThrottled) || *made != 1 {
			t.Errorf("got %v after %d attempts, want ErrThrottled after one", err, *made)
		}
		// The pause is everybody's: who cannot wait for its end learns so at once.
		request, made = failsThenWorks()
		err := s.call(storeContext(t, 20*time.Second), "sign", request)
		if !errors.Is(err, ErrThrottled) || !errors.Is(err, budget.ErrPaused) || *made != 0 {
			t.Errorf("got %v after %d attempts, want ErrThrottled after none", err, *made)
		}
		if took := time.Since(start); took > time.Millisecond {
			t.Errorf("two calls that could not wait took %s", took)
		}
	})
}

func TestCallObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		request, made := failsThenWorks()
		if err := s.call(ended, "sign", request); !errors.Is(err, context.Canceled) || *made != 0 {
			t.Errorf("an ended context: got %v after %d attempts", err, *made)
		}

		ctx, cancel := context.WithCancel(t.Context())
		err := s.call(ctx, "sign", func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return &StoreError{Kind: ErrUnavailable, Message: "operation was canceled"}
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
			t.Errorf("cancelled while asking: got %v, want Canceled alone", err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		request, made = alwaysFails(&StoreError{Kind: ErrUnavailable, RetryAfter: time.Hour})
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if err := s.call(ctx, "sign", request); !errors.Is(err, ErrUnavailable) || *made != 1 || time.Since(start) != time.Second {
			t.Errorf("cancelled while waiting: got %v after %d attempts and %s", err, *made, time.Since(start))
		}
	})
}

func TestAttemptsHaveTheirOwnTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{Timeout: 3 * time.Second})
		made := 0
		hangTwice := func(ctx context.Context) error {
			if made++; made <= 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		start := time.Now()
		if err := s.call(storeContext(t, time.Minute), "sign", hangTwice); err != nil || made != 3 {
			t.Errorf("got %v after %d attempts, want success at the third", err, made)
		}
		if took := time.Since(start); took < 6*time.Second || took > 7*time.Second {
			t.Errorf("it took %s, want two timeouts of 3s", took)
		}
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		err := s.call(storeContext(t, 4*time.Second), "sign", hang)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's deadline in the second attempt: got %v", err)
		}
		err = s.call(storeContext(t, 3*time.Second+time.Millisecond), "sign", hang)
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no answer within 3s") {
			t.Errorf("no time for a second attempt: got %v, want ErrUnavailable", err)
		}
	})
}

func TestCallKeepsTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{Limits: budget.Limits{RequestsPerSecond: 1e6, Concurrency: 3}})
		var mu sync.Mutex
		var now, most int
		count := func(by int) {
			mu.Lock()
			defer mu.Unlock()
			now += by
			most = max(most, now)
		}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				err := s.call(t.Context(), "sign", func(context.Context) error {
					count(1)
					defer count(-1)
					time.Sleep(time.Second)
					if i%2 == 0 {
						return ErrDenied // an error gives its place back too
					}
					return nil
				})
				if err != nil && !errors.Is(err, ErrDenied) {
					t.Error(err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		if most != 3 || time.Since(start) != 10*time.Second {
			t.Errorf("%d at once in %s, want 3 and 10s", most, time.Since(start))
		}
		if free := s.budget.Free(); free != 3 {
			t.Errorf("%d places are free, want 3", free)
		}
	})
}

func TestThrottlingLowersTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{Limits: budget.Limits{RequestsPerSecond: 100, Concurrency: 10}})
		request, _ := failsThenWorks(ErrUnavailable)
		if err := s.call(t.Context(), "sign", request); err != nil || s.budget.Rate() != 100 {
			t.Errorf("got %v and a rate of %v, want 100 after an outage", err, s.budget.Rate())
		}
		request, _ = failsThenWorks(ErrThrottled)
		if err := s.attempt(t.Context(), "sign", request); !errors.Is(err, ErrThrottled) || s.budget.Rate() != 50 {
			t.Errorf("got %v and a rate of %v, want 50 after throttling", err, s.budget.Rate())
		}
	})
}

func TestRequestsAreCounted(t *testing.T) {
	s := quickStore(t, StoreConfig{})
	for _, err := range []error{nil, nil, ErrDenied, ErrKeyState, ErrNotFound, errors.New("other"), &StoreError{Kind: ErrThrottled}, &StoreError{Kind: ErrUnavailable}} {
		_ = s.attempt(t.Context(), "login", func(context.Context) error { return err }) // counted below
	}
	got := s.Requests()
	want := map[Request]int64{{"login", "ok"}: 2, {"login", "denied"}: 1, {"login", "failed"}: 3, {"login", "throttled"}: 1, {"login", "unavailable"}: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	got[Request{"login", "ok"}] = 7 // a copy
	if n := s.Requests()[Request{"login", "ok"}]; n != 2 {
		t.Errorf("the count was changed from outside to %d", n)
	}
}

// During an outage the store gets few requests, however many callers there are.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := quickStore(t, StoreConfig{})
		var mu sync.Mutex
		up := false
		var sent []time.Duration
		start := time.Now()
		request := func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, time.Since(start))
			if !up {
				return ErrUnavailable
			}
			return nil
		}
		time.AfterFunc(time.Minute, func() {
			mu.Lock()
			defer mu.Unlock()
			up = true
		})
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := s.call(storeContext(t, 3*time.Minute), "sign", request); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var vain int
		for _, at := range sent {
			if at < time.Minute {
				vain++
			}
		}
		// As many as it takes to notice, then one each ten seconds.
		if vain < breakAfter+4 || vain > breakAfter+6 {
			t.Errorf("%d requests in a minute of outage, want about %d", vain, breakAfter+5)
		}
		if took := time.Since(start); took > 90*time.Second {
			t.Errorf("the last one was served after %s", took)
		}
	})
}

func TestNewStore(t *testing.T) {
	s := quickStore(t, StoreConfig{Limits: budget.Limits{RequestsPerSecond: -1, Concurrency: -1}, Timeout: -1})
	if s.config.Limits != (budget.Limits{RequestsPerSecond: DefaultRequestsPerSecond, Concurrency: DefaultConcurrency}) || s.config.Timeout != DefaultTimeout {
		t.Errorf("defaults are %+v", s.config)
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{empty + ".absent": "reading ca_file", empty: "holds no PEM certificate"} {
		if _, err := NewStore(StoreConfig{CAFile: file}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	for attempt, most := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 5: 1600 * time.Millisecond, 8: 10 * time.Second, 1000: 10 * time.Second,
	} {
		for range 100 {
			if d := backoff(attempt); d < most/2 || d > most {
				t.Fatalf("attempt %d: %s, want between %s and %s", attempt, d, most/2, most)
			}
		}
	}
}

func TestStoreErrors(t *testing.T) {
	for want, e := range map[string]*StoreError{
		"denied by the key store":                                       {Kind: ErrDenied},
		"denied by the key store: HTTP 403":                             {Kind: ErrDenied, Code: "HTTP 403"},
		"denied by the key store: go away":                              {Kind: ErrDenied, Message: " go\x00away\r\n"},
		"throttled by the key store: A  B: slow down":                   {Kind: ErrThrottled, Code: "A\r\nB", Message: "slow down"},
		"key store unavailable: " + strings.Repeat("x", maxWords) + "…": {Kind: ErrUnavailable, Message: strings.Repeat("x", 10*maxWords)},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !errors.Is(e, e.Kind) {
			t.Errorf("%v is not its kind", e)
		}
	}
}

func TestKindOfStatus(t *testing.T) {
	for status, want := range map[int]error{
		400: ErrUnsupported, 401: ErrDenied, 403: ErrDenied, 404: ErrNotFound, 405: ErrUnsupported, 408: ErrUnavailable,
		429: ErrThrottled, 500: ErrUnavailable, 503: ErrUnavailable, 302: ErrUnsupported,
	} {
		if got := kindOfStatus(status); !errors.Is(got, want) {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}

// The libraries of vendors panic on answers that they did not expect.
func TestPanicsAreContained(t *testing.T) {
	s := quickStore(t, StoreConfig{Limits: budget.Limits{RequestsPerSecond: 1e6, Concurrency: 1}})
	for _, tt := range []struct {
		request func(context.Context) error
		says    string
	}{
		{func(context.Context) error { var none []error; return none[len(s.Requests())] }, "index out of range"},
		{func(context.Context) error { panic("hunter2") }, "string"},
		{func(context.Context) error { panic(fmt.Errorf("hunter2")) }, "errorString"},
	} {
		err := s.call(t.Context(), "sign", tt.request)
		var fault *StoreError
		if !errors.As(err, &fault) || fault.Code != codePanic || mayPass(err) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want an error that says %s", err, tt.says)
		}
	}
	request, _ := failsThenWorks()
	if err := s.call(t.Context(), "sign", request); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
