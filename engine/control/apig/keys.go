package apig

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/journal"
)

const (
	// window is how far the time of an incoming request may be from ours, as in the
	// vendor's examples of backends.
	window = 15 * time.Minute
	// remembered is how many signatures are remembered for each API: 18 a second.
	remembered = 1 << 14
)

// KeysOptions are what Keys work with. Journal and Seal are required.
type KeysOptions struct {
	Journal *journal.Journal
	Seal    *Seal
	// Clock is time.Now by default.
	Clock func() time.Time
}

// Keys put signature keys to use that are bound to APIs: those of type hmac by
// SDK-HMAC-SHA256, those of type basic by HTTP Basic. A change counts from the next
// request on. Methods may be called by many goroutines.
type Keys struct {
	o KeysOptions

	mu    sync.Mutex
	gates map[string]*door.Gate // by API; there are no more than were ever bound
}

// NewKeys returns keys that remember no request.
func NewKeys(o KeysOptions) *Keys {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return &Keys{o: o, gates: map[string]*door.Gate{}}
}

// Reseal encrypts again what an older key of the seal encrypted, and returns how many
// signature keys that were. After it, older keys are needed no more.
func (k *Keys) Reseal(ctx context.Context) (int, error) {
	return k.o.Journal.ResealSignatureKeys(ctx, k.o.Seal.reseal)
}

// Signer returns what signs an outgoing request, whose body it is given, by the key
// that is bound to an API: before each attempt to send it, once its URL and headers
// are set. It is nil if none is bound. It returns ErrNoAlgorithm for a key that cannot
// sign: then nothing may be sent.
func (k *Keys) Signer(ctx context.Context, apiID string) (func(*http.Request, []byte) error, error) {
	key, err := k.bound(ctx, apiID)
	if errors.Is(err, ErrNotBound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if key.kind == typeBasic {
		return func(r *http.Request, _ []byte) error {
			r.SetBasicAuth(key.AccessKey, string(key.Secret))
			return nil
		}, nil
	}
	return func(r *http.Request, body []byte) error { return door.SignSDKHMAC(r, body, key.SDKKey, k.o.Clock()) }, nil
}

// Authenticate returns nil for an incoming request, with that body, that is signed by
// the key that is bound to an API. It returns a *Refusal for any other, ErrNotBound if
// no key is bound, so that nobody proved anything, and ErrNoAlgorithm for a key by
// which nothing can be signed.
func (k *Keys) Authenticate(ctx context.Context, apiID string, r *http.Request, body []byte) error {
	key, err := k.bound(ctx, apiID)
	if err != nil {
		return err
	}
	if key.kind == typeBasic {
		return authenticateBasic(r, key.SDKKey)
	}
	if err := k.gate(apiID).SDKHMAC(r, body, key.SDKKey); err != nil {
		return &Refusal{refusal(r, err), err}
	}
	return nil
}

// Bound reports whether a key is bound to an API, and whether incoming requests prove
// themselves by their header alone.
func (k *Keys) Bound(ctx context.Context, apiID string) (bound, byHeader bool, err error) {
	stored, err := k.o.Journal.BoundSignatureKey(ctx, apiID)
	if errors.Is(err, journal.ErrNotFound) {
		return false, false, nil
	}
	return err == nil, stored.Type == typeBasic, err
}

// A boundKey is a signature key that can be used.
type boundKey struct {
	door.SDKKey
	kind string
}

func (k *Keys) bound(ctx context.Context, apiID string) (boundKey, error) {
	stored, err := k.o.Journal.BoundSignatureKey(ctx, apiID)
	if errors.Is(err, journal.ErrNotFound) {
		return boundKey{}, fmt.Errorf("%s: %w", apiID, ErrNotBound)
	}
	if err != nil {
		return boundKey{}, err
	}
	if stored.Type != typeHMAC && stored.Type != typeBasic {
		return boundKey{}, fmt.Errorf("signature key %q of sign_type %s, bound to %s: %w", stored.Name, stored.Type, apiID, ErrNoAlgorithm)
	}
	secret, err := k.o.Seal.open(&stored)
	if err != nil {
		return boundKey{}, err
	}
	if stored.Key == "" || secret.Secret == "" {
		return boundKey{}, fmt.Errorf("signature key %s has no key or no secret", stored.ID)
	}
	return boundKey{door.SDKKey{AccessKey: stored.Key, Secret: []byte(secret.Secret)}, stored.Type}, nil
}

// gate returns the memory of an API, which outlives its keys.
func (k *Keys) gate(apiID string) *door.Gate {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.gates[apiID]
	if g == nil {
		g = door.NewGate(window, remembered, k.o.Clock)
		k.gates[apiID] = g
	}
	return g
}

// A Refusal is why an incoming request is not taken: it is answered with 401 and Text,
// which is what the vendor's examples of backends say.
type Refusal struct {
	Text string
	err  error
}

// Error says what is answered, and what is behind it.
func (r *Refusal) Error() string { return fmt.Sprintf("%s (%v)", r.Text, r.err) }

// Unwrap returns an error of package door.
func (r *Refusal) Unwrap() error { return r.err }

// What the vendor's examples of backends answer.
const (
	textNone      = "Authorization not found."
	textFormat    = "Authorization format incorrect."
	textKey       = "Signing key not found."
	textHeader    = "Signed header %s not found."
	textDate      = "Header x-sdk-date not found."
	textExpired   = "Signature expired."
	textSignature = "Verify authroization failed." //nolint:misspell // as they spell it
	// Not in the examples, which forget what they have seen.
	textReplayed = "Request received before."
	textBusy     = "Too many requests."
)

var signedHeaders = regexp.MustCompile(`^SDK-HMAC-SHA256\s+Access=([^,]+),\s?SignedHeaders=([^,]+),\s?Signature=(\w+)$`)

// refusal is what the vendor's examples would say about a request that was refused.
func refusal(r *http.Request, err error) string {
	switch {
	case errors.Is(err, door.ErrNoCredentials):
		return textNone
	case errors.Is(err, door.ErrUnknown):
		return textKey
	case errors.Is(err, door.ErrClock):
		return textExpired
	case errors.Is(err, door.ErrReplayed):
		return textReplayed
	case errors.Is(err, door.ErrBusy):
		return textBusy
	case errors.Is(err, door.ErrSignature), errors.Is(err, door.ErrBodyHash):
		return textSignature
	}
	match := signedHeaders.FindStringSubmatch(r.Header.Get("Authorization"))
	if match == nil {
		return textFormat
	}
	for name := range strings.SplitSeq(match[2], ";") {
		if name != "host" && name != "x-sdk-date" && len(r.Header.Values(name)) == 0 {
			return fmt.Sprintf(textHeader, short(name))
		}
	}
	if r.Header.Get("X-Sdk-Date") == "" {
		return textDate
	}
	return textFormat
}

// authenticateBasic compares name and password as one, in the same time wherever they
// differ.
func authenticateBasic(r *http.Request, key door.SDKKey) error {
	sent := r.Header["Authorization"]
	if len(sent) == 0 || sent[0] == "" {
		return &Refusal{textNone, door.ErrNoCredentials}
	}
	name, password, ok := r.BasicAuth()
	if !ok || len(sent) > 1 {
		return &Refusal{textFormat, door.ErrMalformed}
	}
	gotName, gotPassword := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))
	wantName, wantPassword := sha256.Sum256([]byte(key.AccessKey)), sha256.Sum256(key.Secret)
	if subtle.ConstantTimeCompare(gotName[:], wantName[:])&subtle.ConstantTimeCompare(gotPassword[:], wantPassword[:]) != 1 {
		return &Refusal{textSignature, door.ErrSignature}
	}
	return nil
}
