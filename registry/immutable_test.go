package registry

import (
	"fmt"
	"net/http"
	"testing"
)

// TestIsImmutable: what registries say of a tag that must not change, and what
// only sounds like it.
func TestIsImmutable(t *testing.T) {
	for _, c := range []struct {
		answer ResponseError
		want   bool
	}{
		{ResponseError{Status: http.StatusPreconditionFailed, Codes: []string{"PRECONDITION"}, Message: "Failed to process request due to 'app:v1' configured as immutable."}, true},
		{ResponseError{Status: http.StatusBadRequest, Codes: []string{"TAG_INVALID"}, Message: "The image tag 'v1' already exists in the 'app' repository and cannot be overwritten because the repository is immutable."}, true},
		{ResponseError{Status: http.StatusConflict, Codes: []string{"TAG_IMMUTABLE"}}, true},
		{ResponseError{Status: http.StatusMethodNotAllowed, Codes: []string{"UNSUPPORTED"}, Message: "The operation is disallowed: tag 'v1' is locked"}, true},
		{ResponseError{Status: http.StatusForbidden, Message: "tag v1 is immutable"}, true},

		{ResponseError{Status: http.StatusForbidden, Codes: []string{"DENIED"}, Message: "your account is locked"}, false},
		{ResponseError{Status: http.StatusUnauthorized, Message: "the user is locked, immutable"}, false},
		{ResponseError{Status: http.StatusTooManyRequests, Message: "immutable"}, false},
		{ResponseError{Status: http.StatusInternalServerError, Message: "database is locked"}, false},
		{ResponseError{Status: http.StatusMethodNotAllowed, Codes: []string{"UNSUPPORTED"}}, false},
	} {
		if got := IsImmutable(fmt.Errorf("writing: %w", &c.answer)); got != c.want {
			t.Errorf("%d %v %q: %t", c.answer.Status, c.answer.Codes, c.answer.Message, got)
		}
	}
	if IsImmutable(ErrRejected) || IsImmutable(nil) {
		t.Error("an error that is no answer")
	}
}
