package door

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
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
	// Admit is asked about a request whose proof is right, before it is remembered: a
	// refused one may be sent again as it is. Nil admits everything. What it returns
	// is returned.
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
}

// New returns a door for the credentials, or says everything that is wrong with them.
func New(c Config) (*Door, error) {
	if c.MaxBody < 0 || c.TC3Window < 0 || c.SDKHMACWindow < 0 || c.OCIWindow < 0 || c.Remembered < 0 {
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
	credentials := c.Credentials
	c.Credentials = nil // the keyring has them
	d := &Door{config: c}
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
	if d.config.Clock().Sub(c.at).Abs() > c.window {
		return Caller{}, nil, ErrClock
	}
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
		switch err := h.memory.admit(c, d.config.Clock); {
		case errors.Is(err, ErrReplayed):
			return Caller{}, nil, &ReplayedError{Caller: caller, Body: body}
		case err != nil:
			return Caller{}, nil, err
		}
	}
	return caller, body, nil
}

func (d *Door) admit(c Caller, r *http.Request) error {
	if d.config.Admit == nil {
		return nil
	}
	return d.config.Admit(c, r)
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
