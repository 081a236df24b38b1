package kms

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// awsError translates an error of the AWS library.
func awsError(err error) error {
	var ours *StoreError
	if err == nil || errors.As(err, &ours) { // the latter is of our awsLogin
		return err
	}
	status, header := awsAnswer(err)
	wait := askedToWait(header)
	var answer smithy.APIError
	if errors.As(err, &answer) {
		code := answer.ErrorCode()
		if code == "UnknownError" { // what the library says of an answer without a code
			code = fmt.Sprintf("HTTP %d", status)
		}
		return &StoreError{Kind: awsKind(code, status), Code: plain(code), Message: awsWords(answer.ErrorMessage()), RetryAfter: wait}
	}
	var unsent *smithyhttp.RequestSendError
	switch {
	case errors.As(err, &unsent):
		return networkError(unsent.Err)
	case status >= 400:
		return &StoreError{Kind: kindOfStatus(status), Code: fmt.Sprintf("HTTP %d", status), RetryAfter: wait}
	case status != 0:
		unread := notUnderstood("it is not what the API says")
		unread.RetryAfter = wait
		return unread
	}
	return fmt.Errorf("asking AWS: %w", err)
}

// awsLoginError translates an error of looking for credentials, of which there
// had been some or not: if not the network or a throttle is to blame, trying
// again does not help.
func awsLoginError(err error, had bool) error {
	var at *smithy.OperationError
	var answer smithy.APIError
	ofInstance := errors.As(err, &at) && at.ServiceID == "ec2imds"
	if ofInstance && had {
		return &StoreError{Kind: ErrUnavailable, Code: "credentials", Message: "the instance's metadata give none now"}
	}
	if ofInstance && !errors.As(err, &answer) {
		return &StoreError{Kind: ErrDenied, Code: "credentials", Message: "none in key_stores or the environment, and no instance metadata answers"}
	}
	mapped := awsError(err)
	var ours *StoreError
	if errors.As(mapped, &ours) && (errors.Is(ours, ErrThrottled) || errors.Is(ours, ErrUnavailable)) {
		return mapped
	}
	if ours == nil {
		return &StoreError{Kind: ErrDenied, Code: "credentials", Message: err.Error()}
	}
	return &StoreError{Kind: ErrDenied, Code: ours.Code, Message: cmp.Or(ours.Message, "while asking for credentials")}
}

func awsAnswer(err error) (int, http.Header) {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil {
		return 0, nil
	}
	return answer.HTTPStatusCode(), answer.Response.Header
}

// awsKind is what an error code of AWS KMS or STS means.
func awsKind(code string, status int) error {
	if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
		return ErrThrottled
	}
	switch code {
	case "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "InternalFailure",
		"ServiceUnavailable", "RequestTimeout", "RequestTimeoutException", "IDPCommunicationError":
		return ErrUnavailable
	case "AccessDeniedException", "AccessDenied", "OptInRequired", "NotAuthorized":
		return ErrDenied
	case "NotFoundException", "InvalidArnException":
		return ErrNotFound
	case "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException":
		return ErrKeyState
	case "IncorrectKeyException", "InvalidCiphertextException":
		return ErrKeyMismatch
	}
	if awsRefusesLogin(code) {
		return ErrDenied
	}
	return kindOfStatus(status)
}

// awsRefusesLogin reports whether code is about the credentials, and not about
// what their owner may do.
func awsRefusesLogin(code string) bool {
	switch code {
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidClientTokenId", "ExpiredToken",
		"ExpiredTokenException", "RequestExpired", "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidIdentityToken":
		return true
	}
	return false
}

func awsLoginRefused(answer *StoreError) bool {
	return isDenied(answer) && awsRefusesLogin(answer.Code)
}

// awsWords cuts what AWS repeats of a request that was signed wrongly: it can
// hold a session token.
func awsWords(message string) string {
	words, _, _ := strings.Cut(message, "The Canonical String")
	return words
}
