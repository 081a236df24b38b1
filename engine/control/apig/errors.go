package apig

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
)

// Why a bound key cannot be put to use.
var (
	// ErrNotBound is for an API that no signature key is bound to.
	ErrNotBound = errors.New("no signature key is bound to it")
	// ErrNoAlgorithm is for a key of a type whose use on the wire the vendor does not
	// describe. It can be managed, and nothing is sent or taken with it.
	ErrNoAlgorithm = errors.New("the vendor publishes no algorithm for this sign_type, so no request is signed or taken with it; bind a key of sign_type hmac or basic")
)

// A problem is an error of the vendor's, as it is answered.
type problem struct {
	status  int
	Code    string `json:"error_code"`
	Message string `json:"error_msg"`
	// Request and Detail are additions: gateways of the vendor send the first.
	Request string `json:"request_id"`
	Detail  string `json:"detail,omitempty"`
}

func (p *problem) Error() string {
	if p.Detail == "" {
		return p.Code + " " + p.Message
	}
	return p.Code + " " + p.Message + ": " + p.Detail
}

const seeDocs = ". Please refer to the support documentation"

// invalid is for a member of the body, and invalidQuery for one of the path or query.
// Neither quotes the value, which may be secret.
func invalid(field, detail string) *problem {
	return &problem{status: http.StatusBadRequest, Code: "APIG.2011", Message: "Invalid parameter value,parameterName:" + field + seeDocs, Detail: detail}
}

func invalidQuery(field, detail string) *problem {
	p := invalid(field, detail)
	p.Code = "APIG.2012"
	return p
}

func missing(field string) *problem {
	return &problem{status: http.StatusBadRequest, Code: "APIG.2001", Message: "The request parameters must be specified,parameterName:" + field + seeDocs}
}

func malformedBody(detail string) *problem {
	return &problem{status: http.StatusBadRequest, Code: "APIG.2000", Message: "Parameter error", Detail: detail}
}

func noRoute() *problem {
	return &problem{status: http.StatusNotFound, Code: "APIG.0101", Message: "The API does not exist or has not been published in the environment."}
}

// notHere is for whoever may call, where nothing can encrypt a secret.
func notHere() *problem {
	p := noRoute()
	p.Detail = "signature keys are off: the daemon's configuration has no signature_keys"
	return p
}

func noInstance(id string) *problem {
	return &problem{status: http.StatusNotFound, Code: "APIG.3030", Message: "The instance does not exist;id:" + short(id)}
}

func noKey(id string) *problem {
	return &problem{status: http.StatusNotFound, Code: "APIG.3017", Message: "Signature key " + short(id) + " does not exist"}
}

func noAPI(id string) *problem {
	return &problem{status: http.StatusNotFound, Code: "APIG.3002", Message: "API " + short(id) + " does not exist"}
}

func noBinding() *problem {
	return &problem{status: http.StatusNotFound, Code: "APIG.3018", Message: "The signature key binding record does not exist"}
}

func forbidden(detail string) *problem {
	return &problem{status: http.StatusForbidden, Code: "APIG.1005", Message: "No permissions to request this method", Detail: detail}
}

func throttled() *problem {
	return &problem{status: http.StatusTooManyRequests, Code: "APIG.0308", Message: "The throttling threshold has been reached."}
}

func internal() *problem {
	return &problem{status: http.StatusInternalServerError, Code: "APIG.9999", Message: "System error"}
}

// short bounds what is repeated to a caller.
func short(text string) string { return fmt.Sprintf("%.64s", text) }

// fromJournal is why the journal did not change a signature key.
func fromJournal(err error, id string) error {
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return noKey(id)
	case errors.Is(err, journal.ErrExists):
		return &problem{status: http.StatusBadRequest, Code: "APIG.3207", Message: "The signature key name already exists"}
	case errors.Is(err, journal.ErrQuota):
		return &problem{status: http.StatusForbidden, Code: "APIG.3105", Message: "The number of signature keys exceeds the maximum allowed limit",
			Detail: fmt.Sprintf("allowed: %d in an instance", maxKeys)}
	case errors.Is(err, journal.ErrBound):
		return &problem{status: http.StatusBadRequest, Code: "APIG.3309", Message: "The operation has already been performed",
			Detail: "an API can be bound with one signature key only, unbind the other one first"}
	}
	return err
}

// fromDoor is why a request's sender was not let in. Unknown names and wrong secrets
// are answered alike.
func fromDoor(err error, token bool) *problem {
	denied := func(code, message string) *problem {
		return &problem{status: http.StatusUnauthorized, Code: code, Message: message}
	}
	const iam = "Incorrect IAM authentication information: "
	switch {
	case errors.Is(err, door.ErrTooLarge):
		return &problem{status: http.StatusRequestEntityTooLarge, Code: "APIG.0201", Message: "Request entity too large."}
	case errors.Is(err, rights.ErrRate), errors.Is(err, door.ErrBusy):
		return throttled()
	case errors.Is(err, door.ErrNoCredentials):
		return denied("APIG.1000", "The token is missing.")
	case token:
		return denied("APIG.1002", "Incorrect token or token resolution failed")
	case errors.Is(err, door.ErrClock), errors.Is(err, door.ErrReplayed), errors.Is(err, door.ErrMalformed),
		errors.Is(err, door.ErrUnsupported), errors.Is(err, door.ErrBodyHash):
		return denied("APIG.0301", iam+err.Error())
	}
	return denied("APIG.0301", iam+"verify aksk signature fail")
}
