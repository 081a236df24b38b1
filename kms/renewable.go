package kms

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// onceMore makes a call, and makes it once more if the store refused its
// credentials and renew found others. With the same it is not made again:
// vendors lock out who is refused a few times.
func onceMore(call func() error, refused func(*StoreError) bool, renew func() (bool, error)) error {
	err := call()
	var answer *StoreError
	if !errors.As(err, &answer) || !refused(answer) {
		return err
	}
	switch renewed, renewal := renew(); {
	case renewal != nil:
		return fmt.Errorf("%w; looking for other credentials: %w", err, renewal)
	case !renewed:
		return err
	}
	return call()
}

// isDenied is for stores that do not tell who is refused from what is.
func isDenied(e *StoreError) bool { return errors.Is(e, ErrDenied) }

// A renewable holds credentials that are found once and again when the store
// refused them, so that they can be renewed in place. It is safe for
// concurrent use.
type renewable[T any] struct {
	find    func(ctx context.Context) (*T, error)
	same    func(a, b *T) bool
	refused func(*StoreError) bool // whether an answer is about the credentials

	held atomic.Pointer[T]
	turn chan struct{} // holds one element while somebody looks; unlike a mutex it can be given up waiting for
}

func newRenewable[T any](find func(context.Context) (*T, error), same func(a, b *T) bool, refused func(*StoreError) bool) *renewable[T] {
	return &renewable[T]{find: find, same: same, refused: refused, turn: make(chan struct{}, 1)}
}

// ask makes one kind of request, and once more if its credentials were refused
// and there are others by now.
func (r *renewable[T]) ask(ctx context.Context, s *Store, op string, request func(context.Context, *T) error) error {
	used := r.held.Load()
	if used == nil {
		var err error
		if used, err = r.renew(ctx, nil); err != nil {
			return err
		}
	}
	return onceMore(func() error {
		return s.call(ctx, op, func(ctx context.Context) error { return request(ctx, used) })
	}, r.refused, func() (bool, error) {
		before := used
		now, err := r.renew(ctx, before)
		if err == nil {
			used = now
		}
		return used != before, err
	})
}

// renew returns the credentials that took the place of old, or old if there
// are no others.
func (r *renewable[T]) renew(ctx context.Context, old *T) (*T, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if held := r.held.Load(); held != old {
		return held, nil // another call was faster
	}
	found, err := r.find(ctx)
	if err != nil {
		return nil, err
	}
	if old != nil && r.same(old, found) {
		return old, nil
	}
	r.held.Store(found)
	return found, nil
}
