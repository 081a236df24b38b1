package kms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// maxUnderWay bounds the calls to one key that have not come back, so that
	// a key store that hangs holds at most as many goroutines.
	maxUnderWay = 64
	// closeGrace is how long Close waits for those calls.
	closeGrace = 10 * time.Second
)

// A verified signer lets no signature out that its public key does not verify,
// and nobody wait for the signer inside longer than their context lives. The
// signers of this package are only ever handed out inside one.
type verified struct {
	inner  Signer
	public *PublicKey    // as it was at first: a key that is swapped later is caught
	slots  chan struct{} // holds one element for each call under way
	closed chan struct{}
	close  func() error
}

func verifying(inner Signer) *verified {
	v := &verified{
		inner:  inner,
		public: inner.Public(),
		slots:  make(chan struct{}, maxUnderWay),
		closed: make(chan struct{}),
	}
	v.close = sync.OnceValue(v.shut)
	return v
}

func (v *verified) Public() *PublicKey { return v.public }

func (v *verified) Version() string { return v.inner.Version() }

func (v *verified) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := v.enter(ctx); err != nil {
		return nil, err
	}
	type answer struct {
		signature []byte
		err       error
	}
	answers := make(chan answer, 1)
	// The caller may leave before the signer inside has read the message.
	message = bytes.Clone(message)
	go func() {
		defer func() { <-v.slots }()
		signature, err := v.inner.Sign(ctx, message)
		answers <- answer{signature, err}
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("signing: %w", ctx.Err())
	case a := <-answers:
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
		if a.err != nil {
			return nil, fmt.Errorf("signing: %w", a.err)
		}
		if err := v.public.Verify(message, a.signature); err != nil {
			return nil, fmt.Errorf("checking the new signature: %w", v.explain(ctx, err))
		}
		return a.signature, nil
	}
}

// A fetcher can ask its store again for the public key of its version.
type fetcher interface {
	fetch(ctx context.Context) (*PublicKey, error)
}

// explain finds out why a signature does not verify: if the key behind the URI
// is another one by now, that is the news.
func (v *verified) explain(ctx context.Context, invalid error) error {
	f, ok := v.inner.(fetcher)
	if !ok {
		return invalid
	}
	now, err := f.fetch(ctx)
	if err != nil || now.Fingerprint() == v.public.Fingerprint() {
		return invalid
	}
	return fmt.Errorf("%w: it was opened with fingerprint %s, the store has %s now",
		ErrKeyMismatch, v.public.Fingerprint(), now.Fingerprint())
}

// enter takes a slot. Whoever gets it gives it back when the signer inside has
// answered, which can be later than the caller has left.
func (v *verified) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("waiting to sign: %w", ctx.Err())
	case <-v.closed:
		return fmt.Errorf("signing: %w", ErrClosed)
	case v.slots <- struct{}{}:
	}
	select {
	case <-v.closed: // both were ready, as they are when a call outlived Close
		<-v.slots
		return fmt.Errorf("signing: %w", ErrClosed)
	default:
		return nil
	}
}

// Close lets no new call in, waits for those under way, and closes the signer
// inside. Closing again returns what the first Close did.
func (v *verified) Close() error { return v.close() }

func (v *verified) shut() error {
	close(v.closed)
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	for range maxUnderWay {
		select {
		case v.slots <- struct{}{}:
		case <-grace.C:
			err := fmt.Errorf("closing the key: calls to its store are still under way after %s", closeGrace)
			return errors.Join(err, v.inner.Close())
		}
	}
	return v.inner.Close()
}
