package kms

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// broken returns a breaker that has just opened.
func broken(t *testing.T) *breaker {
	t.Helper()
	var b breaker
	for i := range breakAfter {
		if _, err := b.allow(); err != nil {
			t.Fatalf("left alone after %d failures: %v", i, err)
		}
		b.report(false, &StoreError{Kind: ErrUnavailable})
	}
	return &b
}

func TestBreakerLeavesTheStoreAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broken(t)
		_, err := b.allow()
		if !errors.Is(err, ErrUnavailable) || retryAfter(err) != breakFor {
			t.Errorf("got %v, want ErrUnavailable and to come back in %s", err, breakFor)
		}
		time.Sleep(breakFor - time.Second)
		if _, err := b.allow(); retryAfter(err) != time.Second {
			t.Errorf("got %v, want to come back in a second", err)
		}
		time.Sleep(time.Second)
		if _, err := b.allow(); err != nil {
			t.Errorf("the first after %s: %v", breakFor, err)
		}
		if _, err := b.allow(); retryAfter(err) != firstBackoff {
			t.Errorf("another one beside it: got %v, want to come back soon", err)
		}
		b.report(true, ErrUnavailable)
		if _, err := b.allow(); retryAfter(err) != breakFor {
			t.Errorf("after it failed: got %v, want to come back in %s", err, breakFor)
		}
		time.Sleep(breakFor)
		if _, err := b.allow(); err != nil {
			t.Errorf("the second after %s: %v", breakFor, err)
		}
		b.report(true, nil)
		for range breakAfter {
			if _, err := b.allow(); err != nil {
				t.Errorf("after a success: %v", err)
			}
		}
	})
}

// Whoever was sent to see and left must not keep the others out.
func TestBreakerWhenTheCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broken(t)
		time.Sleep(breakFor)
		for _, left := range []error{context.Canceled, context.DeadlineExceeded} {
			if _, err := b.allow(); err != nil {
				t.Fatal(err)
			}
			b.report(true, left)
		}
		if _, err := b.allow(); err != nil {
			t.Errorf("the next one: %v", err)
		}
		if _, err := b.allow(); err == nil {
			t.Error("two at once: those who left were taken for answers")
		}
	})
}

// Calls from before the outage was noticed end while one is out to see.
func TestBreakerIsNotMovedByOldCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, old := range []error{context.Canceled, &StoreError{Kind: ErrUnavailable}} {
			b := broken(t)
			time.Sleep(breakFor)
			sentToSee, err := b.allow()
			if err != nil || !sentToSee {
				t.Fatalf("sent to see: %t, %v", sentToSee, err)
			}
			b.report(false, old)
			if _, err := b.allow(); retryAfter(err) != firstBackoff {
				t.Errorf("%v of an old call: got %v, want one call at a time and soon an end", old, err)
			}
			b.report(true, nil)
			if _, err := b.allow(); err != nil {
				t.Errorf("%v of an old call: the store is left alone though it lives: %v", old, err)
			}
		}
		b := broken(t)
		b.report(false, nil)
		if _, err := b.allow(); err != nil {
			t.Errorf("an old call that was answered shows that the store lives: %v", err)
		}
	})
}

func TestBreakerCountsFailuresInARow(t *testing.T) {
	for _, answer := range []error{nil, ErrDenied, ErrThrottled, ErrNotFound, errors.New("other")} {
		var b breaker
		for range 3 {
			for range breakAfter - 1 {
				b.report(false, ErrUnavailable)
			}
			b.report(false, answer)
		}
		if _, err := b.allow(); err != nil {
			t.Errorf("%v shows that the store lives: %v", answer, err)
		}
	}
	var b breaker
	for range 10 * breakAfter {
		b.report(false, context.Canceled)
	}
	if _, err := b.allow(); err != nil {
		t.Errorf("callers that left say nothing of the store: %v", err)
	}
}
