package engine

import (
	"context"
	"errors"

	"github.com/sealwright/sealwright/kms"
	"github.com/sealwright/sealwright/registry"
	"github.com/sealwright/sealwright/registry/signature"
)

// Reasons name what became of an artifact, a task or an execution. Logs,
// records and commands carry them, and scripts may depend on them.
const (
	ReasonSigned        = "signed"         // new signature, read back and verified
	ReasonAlreadySigned = "already_signed" // our key verified what is there, now or not long ago; no key use
	ReasonRestored      = "restored"       // new signature, read back and verified, in place of one that was lost

	ReasonNothingOld  = "nothing_old"  // in a campaign: the old key has not signed it, or no more
	ReasonOldRemoved  = "old_removed"  // in a campaign: its signatures by the old key were removed
	ReasonNotResigned = "not_resigned" // in a campaign: they stay, as the new key has not signed it

	ReasonGone           = "artifact_gone"   // deleted between listing and signing
	ReasonRepositoryGone = "repository_gone" // deleted between catalog and listing
	ReasonMissing        = "missing"         // the registry lacks what it must have: part of an index, an upload that it began
	ReasonUnauthorized   = "unauthorized"    // the registry does not know who we are
	ReasonForbidden      = "forbidden"       // it does, and says no
	ReasonRateLimited    = "rate_limited"    // still, at the artifact's deadline
	ReasonUnavailable    = "registry_unavailable"
	ReasonRejected       = "registry_rejected" // a write was refused: immutable tags, quota, read-only
	ReasonTooLarge       = "too_large"
	ReasonCorrupt        = "corrupt_content" // digest, length or type is not what was said
	ReasonUnsupported    = "unsupported"
	ReasonForeignTag     = "foreign_signature_tag" // the .sig tag holds something else
	ReasonTooMany        = "too_many_signatures"
	ReasonConflict       = "signature_conflict" // other writers kept overwriting ours
	ReasonKey            = "key_failed"         // the key could not sign
	ReasonKeyDisabled    = "key_disabled"
	ReasonKeyMismatch    = "key_mismatch"      // what came back is not this key's, or the key is not the pinned one
	ReasonKeyState       = "key_state"         // the key store does not let the key sign
	ReasonKeyMissing     = "key_missing"       // the key store has no such key or version
	ReasonKeyDenied      = "key_denied"        // the key store does not let us use it
	ReasonKeyThrottled   = "key_throttled"     // still, at the artifact's deadline
	ReasonKeyUnavailable = "key_unavailable"   // the key store did not answer until then
	ReasonCertificate    = "certificate"       // expired, about to, or not the key's
	ReasonTimestamp      = "timestamp_failed"  // no timestamp authority answered as it should
	ReasonLog            = "log_failed"        // the transparency log did not take the signature
	ReasonImmutable      = "immutable_tag"     // the registry does not let the signature tag change
	ReasonDeadline       = "deadline"          // the artifact's deadline passed
	ReasonBusy           = "claimed_elsewhere" // another worker held the artifact until our deadline
	ReasonInternal       = "internal"
	ReasonPolicyGone     = "policy_gone" // removed from the configuration
	ReasonPolicyDisabled = "policy_disabled"
	ReasonPolicyChanged  = "policy_changed" // edited meanwhile; it is fired again
)

// causes maps errors to reasons; the first match counts.
var causes = []struct {
	err    error
	reason string
}{
	{signature.ErrForeign, ReasonForeignTag},
	{signature.ErrTooMany, ReasonTooMany},
	{signature.ErrConflict, ReasonConflict},
	{errNotResigned, ReasonNotResigned},
	{signature.ErrImmutable, ReasonImmutable},
	{signature.ErrTimestamp, ReasonTimestamp},
	{signature.ErrLog, ReasonLog},
	{kms.ErrDisabled, ReasonKeyDisabled},
	{kms.ErrInvalidSignature, ReasonKeyMismatch},
	{kms.ErrKeyMismatch, ReasonKeyMismatch},
	{signature.ErrCertificate, ReasonCertificate},
	{kms.ErrKeyState, ReasonKeyState},
	{kms.ErrNotFound, ReasonKeyMissing},
	{kms.ErrDenied, ReasonKeyDenied},
	{kms.ErrThrottled, ReasonKeyThrottled},
	{kms.ErrUnavailable, ReasonKeyUnavailable},
	{kms.ErrUnsupported, ReasonKey},
	{registry.ErrRateLimited, ReasonRateLimited},
	{registry.ErrUnauthorized, ReasonUnauthorized},
	{registry.ErrForbidden, ReasonForbidden},
	{errGone, ReasonGone},
	{registry.ErrNotFound, ReasonMissing},
	{registry.ErrTooLarge, ReasonTooLarge},
	{registry.ErrCorrupt, ReasonCorrupt},
	{registry.ErrUnsupported, ReasonUnsupported},
	{registry.ErrRejected, ReasonRejected},
	{registry.ErrUnavailable, ReasonUnavailable},
	{context.DeadlineExceeded, ReasonDeadline},
	{errKey, ReasonKey},
}

var (
	// errKey marks errors of the key's use.
	errKey = errors.New("using the key")
	// errGone marks a tag that was deleted since it was listed. It is no
	// failure: there is nothing left to sign.
	errGone = errors.New("deleted since it was listed")
)

// reasonFor names why err happened.
func reasonFor(err error) string {
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.reason
		}
	}
	return ReasonInternal
}
