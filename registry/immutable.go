package registry

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// IsImmutable reports whether err, of writing a manifest under a tag, says that
// the registry does not let the tag change. There is no common way to say it:
//
//   - Harbor: 412 PRECONDITION "… configured as immutable";
//   - ECR: 400 TAG_INVALID "… cannot be overwritten because the repository is
//     immutable" (ImageTagAlreadyExistsException);
//   - ACR: 405 UNSUPPORTED or 409 "… is locked" or "… write-enabled: false";
//   - Artifact Registry: 400 "… cannot update tag … immutable";
//   - Quay: 409 TAG_IMMUTABLE, zot and Nexus: 4xx with "immutable" or "does not
//     allow updating".
func IsImmutable(err error) bool {
	var answer *ResponseError
	if !errors.As(err, &answer) || answer.Status < 400 || answer.Status >= 500 ||
		answer.Status == http.StatusUnauthorized || answer.Status == http.StatusTooManyRequests {
		return false
	}
	for _, code := range []string{"TAG_IMMUTABLE", "TAG_ALREADY_EXISTS", "IMMUTABLE_TAG", "ImageTagAlreadyExistsException"} {
		if slices.Contains(answer.Codes, code) {
			return true
		}
	}
	message := strings.ToLower(answer.Message)
	if answer.Status == http.StatusForbidden { // an account may be locked, too
		return strings.Contains(message, "immutable")
	}
	for _, words := range []string{"immutable", "cannot be overwritten", "already exists", "is locked", "does not allow updating", "write-enabled"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}
