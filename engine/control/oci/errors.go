package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/registry"
)

// A fault is an error as Oracle's APIs say it.
type fault struct {
	status  int
	code    string
	message string
}

// Error says what is wrong, for the audit log.
func (f *fault) Error() string { return f.code + ": " + f.message }

// invalid is for a value that is not allowed.
func invalid(field, format string, args ...any) *fault {
	return &fault{http.StatusBadRequest, "InvalidParameter", field + ": " + fmt.Sprintf(format, args...)}
}

func missing(field string) *fault {
	return &fault{http.StatusBadRequest, "MissingParameter", field + " is required"}
}

// unreadable is for what is no request of this API at all.
func unreadable(message string) *fault {
	return &fault{http.StatusBadRequest, "CannotParseRequest", message}
}

// notFound is for what is not there, or not for this caller.
func notFound() *fault {
	return &fault{http.StatusNotFound, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found."}
}

// relatedNotFound is notFound for what a body names.
func relatedNotFound(field, format string, args ...any) *fault {
	return &fault{http.StatusBadRequest, "RelatedResourceNotAuthorizedOrNotFound", field + ": " + fmt.Sprintf(format, args...)}
}

func unavailable(what string) *fault {
	return &fault{http.StatusServiceUnavailable, "ServiceUnavailable", what}
}

// faultOf returns what the caller is told about an error; nil if that is only that
// something went wrong.
func faultOf(err error) *fault {
	var f *fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, rights.ErrUnknown), errors.Is(err, journal.ErrNotFound):
		return notFound()
	case errors.Is(err, rights.ErrRole):
		// Oracle answers both alike, and this text is about the caller alone.
		return &fault{http.StatusNotFound, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found: " + rights.ErrRole.Error() + "."}
	case errors.Is(err, rights.ErrBusy), errors.Is(err, rights.ErrSlow):
		return doorFault(err)
	case errors.Is(err, journal.ErrQuota):
		return &fault{http.StatusBadRequest, "LimitExceeded", "The compartment has as many container image signatures as it may have; delete some."}
	case errors.Is(err, journal.ErrRetryToken):
		return &fault{http.StatusConflict, "InvalidatedRetryToken", "opc-retry-token: " + journal.ErrRetryToken.Error() +
			": it was used for another request, or what was created with it is gone"}
	}
	return nil
}

// doorFault says why a caller was not let in.
func doorFault(err error) *fault {
	switch {
	case errors.Is(err, rights.ErrRate), errors.Is(err, rights.ErrBusy), errors.Is(err, rights.ErrSlow), errors.Is(err, door.ErrBusy):
		return &fault{http.StatusTooManyRequests, "TooManyRequests", "Too many requests for the user."}
	case errors.Is(err, door.ErrTooLarge):
		return &fault{http.StatusBadRequest, "LimitExceeded", err.Error()}
	case errors.Is(err, door.ErrReplayed):
		// Clients sign again, with another time, when they try again after this.
		return &fault{http.StatusConflict, "IncorrectState", "The very same request was received in this second; sign it again."}
	case errors.Is(err, door.ErrUnknown), errors.Is(err, door.ErrSignature):
		return notAuthenticated("The required information to complete authentication was not provided or was incorrect.")
	}
	return notAuthenticated(err.Error())
}

func notAuthenticated(message string) *fault {
	return &fault{http.StatusUnauthorized, "NotAuthenticated", message}
}

// registryFault says what a registry's error means to the caller. missing is for what
// is not in the registry.
func registryFault(err error, missing *fault) error {
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return missing
	case errors.Is(err, registry.ErrRateLimited), errors.Is(err, registry.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", unavailable("The registry does not answer; try again later."), err)
	}
	return err
}
