package door

import "errors"

// Why a request is refused. No text holds a secret, a token or a signature.
var (
	// ErrNoCredentials is for a request that says nothing about who sent it.
	ErrNoCredentials = errors.New("the request is not signed and carries no token")
	// ErrMalformed is for what cannot be read, is ambiguous, or leaves unsigned what
	// must be signed.
	ErrMalformed = errors.New("the request is not signed as documented")
	// ErrUnsupported is for another scheme, algorithm or version, or a method that the
	// scheme does not have.
	ErrUnsupported = errors.New("the request is signed in a way that is not supported")
	// ErrUnknown is for an access key, key id or token that nobody here has.
	ErrUnknown = errors.New("the credential is unknown")
	// ErrSignature is for a signature of something else, or by somebody else.
	ErrSignature = errors.New("the signature is wrong")
	// ErrClock is for a request from too long ago or ahead.
	ErrClock = errors.New("the request's time is outside the window, check the clock")
	// ErrReplayed is for a change that was taken before. It comes as *ReplayedError.
	ErrReplayed = errors.New("the request was received before")
	// ErrBusy is for a change by a caller whose last ones fill the memory of replays, and
	// for whatever was turned away. The same request may be sent again later.
	ErrBusy = errors.New("too many requests at once, or of this credential within the window")
	// ErrTooLarge is for a body above the limit.
	ErrTooLarge = errors.New("the body is too large")
	// ErrBodyHash is for a body that is not the one whose hash the request names.
	ErrBodyHash = errors.New("the body does not have the hash that the request says")
)

// A ReplayedError is ErrReplayed with who sent the change, and its body. It must not
// be carried out; a dialect may look whether what it asks for is so already.
type ReplayedError struct {
	Caller Caller
	Body   []byte
}

// Error returns the text of ErrReplayed.
func (e *ReplayedError) Error() string { return ErrReplayed.Error() }

// Unwrap returns ErrReplayed.
func (e *ReplayedError) Unwrap() error { return ErrReplayed }

// A RefusedError says why a caller is refused who proved who it is: what [Config.Admit]
// said, or why its body was not read or its change not remembered.
type RefusedError struct {
	Caller Caller
	Why    error
}

// Error returns the text of Why.
func (e *RefusedError) Error() string { return e.Why.Error() }

// Unwrap returns Why.
func (e *RefusedError) Unwrap() error { return e.Why }

// CallerOf returns who was refused, if the error is of somebody who proved who it is;
// otherwise nobody.
func CallerOf(err error) Caller {
	if e := (*ReplayedError)(nil); errors.As(err, &e) {
		return e.Caller
	}
	if e := (*RefusedError)(nil); errors.As(err, &e) {
		return e.Caller
	}
	return Caller{}
}
