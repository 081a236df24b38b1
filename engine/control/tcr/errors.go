package tcr

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// An apiError is what a caller is told: one of Tencent's codes and a sentence.
type apiError struct{ code, message string }

// Error returns both.
func (e *apiError) Error() string { return e.code + ": " + e.message }

func refusal(code, format string, args ...any) *apiError {
	return &apiError{code, fmt.Sprintf(format, args...)}
}

const (
	codeInvalid  = "InvalidParameter.ErrorTcrInvalidParameter"
	codeNotFound = "ResourceNotFound.TcrResourceNotFound"
	codeDenied   = "OperationDenied"
)

var (
	errInternal = refusal("InternalError.ErrorTcrInternal", "An internal error has occurred. Try again, or tell the operator the RequestId.")
	errRate     = refusal("RequestLimitExceeded", "The number of requests exceeds the frequency limit.")
	errReplayed = fmt.Errorf("%w: %w", refusal("AuthFailure.SignatureExpire", "This very request was received before, and what it asks for is not so now. Sign it again."), door.ErrReplayed)
)

// notFound is for what is not there, or not for this caller: it cannot tell.
func notFound(what string) *apiError { return refusal(codeNotFound, "%s not found", what) }

func missing(parameter string) *apiError {
	return refusal("MissingParameter", "The request is missing the required parameter `%s`.", parameter)
}

// doorCodes are Tencent's for why a request is not let in.
var doorCodes = []struct {
	err  error
	told *apiError
}{
	{door.ErrNoCredentials, refusal("AuthFailure.InvalidAuthorization", "The request is not signed. Use TC3-HMAC-SHA256.")},
	{door.ErrUnsupported, refusal("AuthFailure.InvalidAuthorization", "The signature method is not supported. Use TC3-HMAC-SHA256.")},
	{door.ErrMalformed, refusal("AuthFailure.InvalidAuthorization", "The request is not signed as documented for TC3-HMAC-SHA256.")},
	{door.ErrUnknown, refusal("AuthFailure.SecretIdNotFound", "The SecretId is not found.")},
	{door.ErrSignature, refusal("AuthFailure.SignatureFailure", "The provided credentials could not be validated. Check the signature.")},
	{door.ErrClock, refusal("AuthFailure.SignatureExpire", "The timestamp is not within five minutes of the server's clock. Check the clock.")},
	{door.ErrTooLarge, refusal("RequestSizeLimitExceeded", "The request is too large.")},
	{door.ErrBusy, errRate},
	{rights.ErrRate, errRate},
	{rights.ErrBusy, errRate},
	{rights.ErrSlow, errRate},
}

// told returns what the caller is told of an error. What nobody foresaw is logged,
// and told without its details.
func (a *api) told(c *call, err error) *apiError {
	if e := (*apiError)(nil); errors.As(err, &e) {
		return e
	}
	for _, d := range doorCodes {
		if errors.Is(err, d.err) {
			return d.told
		}
	}
	if e := (*engine.InvalidPolicyError)(nil); errors.As(err, &e) {
		return invalidPolicy(e)
	}
	if errors.Is(err, journal.ErrQuota) {
		return refusal("LimitExceeded", "The registry has as many signature policies as it may have. Delete some.")
	}
	if errors.Is(err, context.Canceled) {
		return errInternal // the caller left: nobody to tell
	}
	a.Log.Error("API call failed", zap.String("api", "tcr"), zap.String("request", c.id), zap.String("action", c.action),
		zap.String("caller", c.caller.Name), zap.Error(err))
	return errInternal
}

// refuse writes a refusal as Tencent's are.
func refuse(w http.ResponseWriter, requestID string, e *apiError) {
	type detail struct{ Code, Message string }
	respond(w, struct {
		Error     detail
		RequestID string `json:"RequestId"`
	}{detail{e.code, e.message}, requestID})
}

// newRequestID returns a random UUID, as Tencent's request ids are.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
