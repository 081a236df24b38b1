package signature

import "errors"

// Errors that callers branch on. Errors of the store are passed on wrapped, so
// those of package registry can be found too.
var (
	// ErrForeign: the tag that is ours by convention holds something else. It
	// is neither read as a signature nor overwritten; a person has to look.
	ErrForeign = errors.New("the signature tag holds something that is no signature manifest")
	// ErrConflict: other writers replaced the manifest every time.
	ErrConflict = errors.New("other writers kept replacing the signature manifest")
	// ErrTooMany: the manifest has, or would get, more layers than verifiers
	// read, or more bytes than registries accept.
	ErrTooMany = errors.New("too many signatures in one manifest")
)
