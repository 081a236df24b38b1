package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry"
)

// TestFaults: each error is told in Oracle's words, and what is not known says nothing.
func TestFaults(t *testing.T) {
	t.Parallel()
	unknown := errors.New("secret")
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{doorFault(door.ErrNoCredentials), 401, "NotAuthenticated"},
		{doorFault(door.ErrMalformed), 401, "NotAuthenticated"},
		{doorFault(door.ErrUnsupported), 401, "NotAuthenticated"},
		{doorFault(door.ErrUnknown), 401, "NotAuthenticated"},
		{doorFault(door.ErrSignature), 401, "NotAuthenticated"},
		{doorFault(door.ErrClock), 401, "NotAuthenticated"},
		{doorFault(door.ErrBodyHash), 401, "NotAuthenticated"},
		{doorFault(door.ErrReplayed), 409, "IncorrectState"},
		{doorFault(door.ErrBusy), 429, "TooManyRequests"},
		{doorFault(rights.ErrRate), 429, "TooManyRequests"},
		{doorFault(door.ErrTooLarge), 400, "LimitExceeded"},
		{rights.ErrUnknown, 404, "NotAuthorizedOrNotFound"},
		{rights.ErrRole, 404, "NotAuthorizedOrNotFound"},
		{journal.ErrNotFound, 404, "NotAuthorizedOrNotFound"},
		{journal.ErrRetryToken, 409, "InvalidatedRetryToken"},
		{registryFault(registry.ErrNotFound, notFound()), 404, "NotAuthorizedOrNotFound"},
		{registryFault(registry.ErrRateLimited, notFound()), 503, "ServiceUnavailable"},
		{registryFault(registry.ErrUnavailable, notFound()), 503, "ServiceUnavailable"},
		{registryFault(context.DeadlineExceeded, notFound()), 503, "ServiceUnavailable"},
	} {
		f := faultOf(fmt.Errorf("secret: %w", c.err))
		if f == nil || f.status != c.status || f.code != c.code || strings.Contains(f.message, "secret") {
			t.Errorf("%v: %+v, want %d %s", c.err, f, c.status, c.code)
		}
	}
	for _, err := range []error{unknown, registryFault(registry.ErrForbidden, notFound()), registryFault(unknown, notFound()), journal.ErrClosed} {
		if f := faultOf(err); f != nil {
			t.Errorf("%v: %+v", err, f)
		}
	}
	if doorFault(door.ErrUnknown).message != doorFault(door.ErrSignature).message {
		t.Error("names of keys can be told from wrong signatures")
	}
	if internal().status != http.StatusInternalServerError {
		t.Error(internal())
	}
}
