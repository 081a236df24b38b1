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
	// read, or more bytes than registries accept; or more manifests refer to the
	// image than a look reads, and ours is not among those that were read.
	ErrTooMany = errors.New("too many signatures")
	// ErrTimestamp: no timestamp authority gave a timestamp that its roots
	// vouch for, so the signature was not stored.
	ErrTimestamp = errors.New("no timestamp authority attested the signature")
	// ErrImmutable: the registry does not let the signature's tag change, and
	// there is no other place for the signature.
	ErrImmutable = errors.New("the registry does not let the signature tag change")
	// ErrNotOurs: not all that is kept under a tag is provably a signature by the
	// given keys over the given digest, so it stays as it is.
	ErrNotOurs = errors.New("not all of it is ours")
	// ErrCertificate: the key's certificate is not one to sign with.
	ErrCertificate = errors.New("certificate is not to be signed with")
	// ErrLog: the transparency log did not take the signature, which is not
	// stored.
	ErrLog = errors.New("not entered in the transparency log")
)
