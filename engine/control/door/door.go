package door

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Config says who may enter. Zero values are defaults.
type Config struct {
	Credentials []Credential
	// Clock is time.Now by default. It is called by many goroutines.
	Clock func() time.Time
	// MaxBody is how many bytes of a body are read at most: 1 MiB by default.
	MaxBody int64
	// TC3Window, SDKHMACWindow and OCIWindow are how far a request's time may be from
	// ours, either way: 5, 15 and 5 minutes by default, as the vendors have it.
	TC3Window, SDKHMACWindow, OCIWindow time.Duration
	// Remembered is how many signatures are remembered for each access key and OCI key
	// id: 16,384 by default, which is 18 changes a second in SDKHMAC's window, and 54 in
	// the others. One takes some 150 bytes.
	Remembered int
	// MaxUnproven is how many bytes of bodies are held at once, of all requests of which
	// is not known yet who sent them, but for bodies of at most 8 KiB: 64 MiB by default.
	// Who finds no room within 5 seconds gets ErrBusy.
	MaxUnproven int64
	// Admit is asked about a request whose proof is right, before it is remembered: a
	// refused one may be sent again as it is. Nil admits everything. What it returns
	// is returned in a [RefusedError].
	Admit func(Caller, *http.Request) error
}

// A Door knows who may enter. Its methods may be called by many goroutines. They read
// the body, at most MaxBody bytes; whoever serves sets deadlines for that. They
// return the body, and read what was sent (RequestURI), so nothing that rewrites the
// URL may stand before them.
type Door struct {
	config  Config
	replace sync.Mutex
	keyring atomic.Pointer[keyring] // which fmt and encoders do not follow
	// unproven has room for bodies of who has not proved yet who it is.
	unproven *semaphore.Weighted
}

// New returns a door for the credentials, or says everything that is wrong with them.
func New(c Config) (*Door, error) {
	if c.MaxBody < 0 || c.TC3Window < 0 || c.SDKHMACWindow < 0 || c.OCIWindow < 0 || c.Remembered < 0 || c.MaxUnproven < 0 {
		return nil, errors.New("a limit of the door is negative; allowed: 0 for the default, or more")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.MaxBody = cmp.Or(c.MaxBody, 1<<20)
	c.TC3Window = cmp.Or(c.TC3Window, 5*time.Minute)
	c.SDKHMACWindow = cmp.Or(c.SDKHMACWindow, 15*time.Minute)
	c.OCIWindow = cmp.Or(c.OCIWindow, 5*time.Minute)
	c.Remembered = cmp.Or(c.Remembered, 1<<14)
	c.MaxUnproven = cmp.Or(c.MaxUnproven, 64<<20)
	credentials := c.Credentials
	c.Credentials = nil // the keyring has them
	d := &Door{config: c, unproven: semaphore.NewWeighted(max(c.MaxUnproven, c.MaxBody))}
	if err := d.Replace(credentials); err != nil {
		return nil, err
	}
	return d, nil
}

// Replace changes who may enter. What was seen of keys that stay is remembered. If it
// fails, nothing is changed.
func (d *Door) Replace(credentials []Credential) error {
	d.replace.Lock()
	defer d.replace.Unlock()
	k, err := newKeyring(credentials, d.config.Remembered, d.keyring.Load())
	if err != nil {
		return err
	}
	d.keyring.Store(k)
	return nil
}

// A claim is what a signed request says about itself, before any of it is believed.
type claim struct {
	scheme    proofScheme
	at        time.Time
	window    time.Duration
	signature []byte
	// repeatable is for what changes nothing, however often it comes.
	repeatable bool
	// forgettable is for what is not a change even if it is sent in another way: its
	// signature need not be remembered.
	forgettable bool
	// text returns what was signed if the body is this one.
	text func(body []byte) ([]byte, error)
	// verify returns who signed the text.
	verify func(k *keyring, text []byte) (*holder, error)
}

// enter finds out if a claim is true. What is cheap is looked at first: a body is
// read only for a request that may still be good.
func (d *Door) enter(r *http.Request, c claim) (Caller, []byte, error) {
	if TurnedAway(r) {
		return Caller{}, nil, ErrBusy
	}
	if d.config.Clock().Sub(c.at).Abs() > c.window {
		return Caller{}, nil, ErrClock
	}
	if !d.keyring.Load().has(c.scheme) {
		return Caller{}, nil, ErrUnknown // whoever it is, nobody here can be
	}
	release, err := d.reserve(r)
	if err != nil {
		return Caller{}, nil, err
	}
	defer release()
	body, err := d.read(r)
	if err != nil {
		return Caller{}, nil, err
	}
	text, err := c.text(body)
	if err != nil {
		return Caller{}, nil, err
	}
	h, err := c.verify(d.keyring.Load(), text)
	if err != nil {
		return Caller{}, nil, err
	}
	caller := h.callerCopy()
	if err := d.admit(caller, r); err != nil {
		return Caller{}, nil, err
	}
	if !c.forgettable {
		caller.forget, err = h.memory.admit(c, d.config.Clock)
		switch {
		case errors.Is(err, ErrReplayed):
			return Caller{}, nil, &ReplayedError{Caller: caller, Body: body}
		case err != nil:
			return Caller{}, nil, &RefusedError{Caller: caller, Why: err}
		}
	}
	return caller, body, nil
}

func (d *Door) admit(c Caller, r *http.Request) error {
	if d.config.Admit == nil {
		return nil
	}
	if err := d.config.Admit(c, r); err != nil {
		return &RefusedError{Caller: c, Why: err}
	}
	return nil
}

const (
	// smallBody is how large a body may be that needs no room: what all connections may
	// hold of those is little.
	smallBody = 8 << 10
	// roomPatience is how long a request waits for room for its body.
	roomPatience = 5 * time.Second
)

// reserve waits for room for a body of somebody who may be anybody. The caller gives it
// back when the body is proven, or not kept.
func (d *Door) reserve(r *http.Request) (release func(), err error) {
	n := r.ContentLength
	if n < 0 || n > d.config.MaxBody {
		n = d.config.MaxBody // too large ones are refused unread
	}
	if n <= smallBody || r.ContentLength > d.config.MaxBody {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomPatience)
	defer cancel()
	if err := d.unproven.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("%w: no room for the body", ErrBusy)
	}
	return func() { d.unproven.Release(n) }, nil
}

// read reads the body if it is not too large.
func (d *Door) read(r *http.Request) ([]byte, error) {
	if r.ContentLength > d.config.MaxBody {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, r.ContentLength, d.config.MaxBody)
	}
	if r.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, d.config.MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%w: reading the body: %w", ErrMalformed, err)
	}
	if int64(len(body)) > d.config.MaxBody {
		return nil, fmt.Errorf("%w: at most %d bytes are read", ErrTooLarge, d.config.MaxBody)
	}
	return body, nil
}
