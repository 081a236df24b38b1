package registry

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// awsDiagnose reads the code and the words of an error of AWS's JSON protocol.
func awsDiagnose(raw []byte) []diagnostic {
	var answer struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"` // or Message: letters' case does not matter
	}
	if json.Unmarshal(raw, &answer) != nil {
		return nil
	}
	code, _, _ := strings.Cut(cmp.Or(answer.Type, answer.Code), ":") // a URL may follow
	if _, short, found := strings.Cut(code, "#"); found {
		code = short
	}
	// What AWS repeats of a request that was signed wrongly can hold a session
	// token.
	message, _, _ := strings.Cut(answer.Message, "The Canonical String")
	return []diagnostic{{Code: code, Message: message}}
}

// awsKind is what a refusal of ECR means; nil if its status alone tells.
func awsKind(e *ResponseError) error {
	code := strings.Join(e.Codes, "")
	switch {
	case awsThrottles(code):
		return ErrRateLimited
	case awsRefusesLogin(e.Codes):
		return ErrUnauthorized
	}
	switch code {
	case "RepositoryNotFoundException", "ImageNotFoundException", "RegistryPolicyNotFoundException":
		return ErrNotFound
	case "AccessDeniedException", "AccessDenied", "OptInRequired", "NotAuthorized", "KmsException":
		return ErrForbidden
	case "ServerException", "InternalFailure", "ServiceUnavailable", "RequestTimeout":
		return ErrUnavailable
	}
	return nil
}

func awsThrottles(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok && code != "LimitExceededException" // of ECR: a quota of things, not of requests
}

// awsRefusesLogin reports whether a code is about the credentials, and not about
// what their owner may do.
func awsRefusesLogin(codes []string) bool {
	return slices.ContainsFunc(codes, func(code string) bool {
		switch code {
		case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
			"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidClientTokenId", "ExpiredToken",
			"ExpiredTokenException", "RequestExpired", "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidIdentityToken":
			return true
		}
		return false
	})
}
