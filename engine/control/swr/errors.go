package swr

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/engine/journal"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/registry"
)

// The codes of SWR, and of the gateway that stands before Huawei's services.
const (
	codeInvalid   = "SVCSTG.SWR.4000014"
	codeToken     = "SVCSTG.SWR.4010000" //nolint:gosec // a code, not a token
	codeForbidden = "SVCSTG.SWR.4030170"
	codeNotFound  = "SVCSTG.SWR.4040010"
	codeConflict  = "SVCSTG.SWR.4090006"
	codeInternal  = "SVCSTG.SWR.5000001"

	codeNoAPI     = "APIGW.0101"
	codeTooLarge  = "APIGW.0201"
	codeSignature = "APIGW.0301"
	codeRate      = "APIGW.0308"
)

// maxFaults is how many faults an answer lists.
const maxFaults = 16

// A failure is an answer that is no success.
type failure struct {
	status     int
	code, text string
	details    []string // one for each fault
}

func (f *failure) Error() string { return f.text }

func internal() *failure {
	return &failure{status: http.StatusInternalServerError, code: codeInternal, text: "Internal error. The daemon's log has more under this request id."}
}

func conflict(text string) *failure {
	return &failure{status: http.StatusConflict, code: codeConflict, text: text}
}

func forbidden(text string) *failure {
	return &failure{status: http.StatusForbidden, code: codeForbidden, text: text}
}

func notFound() *failure {
	return &failure{status: http.StatusNotFound, code: codeNotFound, text: "The requested resource does not exist."}
}

func noAPI() *failure {
	return &failure{status: http.StatusNotFound, code: codeNoAPI, text: "The API does not exist."}
}

func unauthenticated(code, why string) *failure {
	return &failure{status: http.StatusUnauthorized, code: code, text: "Incorrect IAM authentication information: " + why}
}

func throttled() *failure {
	return &failure{status: http.StatusTooManyRequests, code: codeRate, text: "The throttling threshold has been reached. Try again later."}
}

// invalid says what is wrong with one field, and faulty with several.
func invalid(field, problem, allowed string) *failure {
	return faulty([]policy.Fault{{Field: field, Problem: problem, Allowed: allowed}})
}

func faulty(faults []policy.Fault) *failure {
	f := &failure{status: http.StatusBadRequest, code: codeInvalid}
	for i := range faults[:min(len(faults), maxFaults)] {
		f.details = append(f.details, faults[i].Error())
	}
	f.text = "Invalid parameter. " + strings.Join(f.details, "; ")
	return f
}

// inSWRsWords gives fields the names that they have in what clients send.
func inSWRsWords(faults []policy.Fault) []policy.Fault {
	faults = slices.Clone(faults)
	for i := range faults {
		if faults[i].Field == "trigger.cron" {
			faults[i].Field = "trigger.trigger_settings.cron"
		}
	}
	return faults
}

// refused is an error of the door.
type refused struct {
	err   error
	token bool
}

func (r refused) Error() string { return r.err.Error() }
func (r refused) Unwrap() error { return r.err }

// failure tells why somebody is not let in, but not whether a key is known.
func (r refused) failure() *failure {
	code := codeSignature
	if r.token {
		code = codeToken
	}
	switch err := r.err; {
	case errors.Is(err, rights.ErrRate), errors.Is(err, door.ErrBusy):
		return throttled()
	case errors.Is(err, door.ErrTooLarge):
		return &failure{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, text: "Request entity too large."}
	case errors.Is(err, door.ErrUnknown), errors.Is(err, door.ErrSignature):
		return unauthenticated(code, "the credential is unknown, or the signature is wrong")
	default:
		return unauthenticated(code, err.Error())
	}
}

// failureOf maps an error to the answer that it gives.
func failureOf(err error) *failure {
	var f *failure
	var r refused
	var wrong *engine.InvalidPolicyError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &r):
		return r.failure()
	case errors.As(err, &wrong):
		return faulty(inSWRsWords(wrong.Faults))
	case errors.Is(err, rights.ErrBusy), errors.Is(err, rights.ErrSlow):
		return throttled()
	case errors.Is(err, rights.ErrRole):
		return forbidden(err.Error())
	case errors.Is(err, rights.ErrUnknown), errors.Is(err, journal.ErrNotFound), errors.Is(err, registry.ErrNotFound):
		return notFound()
	case errors.Is(err, journal.ErrQuota):
		return forbidden("The quota of signature policies of this instance is used up: delete some.")
	case errors.Is(err, journal.ErrExists):
		return conflict("A policy with this name exists already in the namespace.")
	case errors.Is(err, engine.ErrPolicy):
		return conflict("The policy cannot be executed: it was deleted or disabled meanwhile, or cannot be carried out.")
	}
	return internal()
}

// A problem is the body of a failure: both shapes that SWR answers with in one.
type problemBody struct {
	Errors    []problemError  `json:"errors"`
	Code      string          `json:"error_code"`
	Text      string          `json:"error_msg"`
	Details   []problemDetail `json:"details"`
	Encoded   string          `json:"encoded_authorization_message"`
	RequestID string          `json:"request_id"`
}

type problemError struct {
	Code    string `json:"errorCode"`
	Text    string `json:"errorMessage"`
	Detail  string `json:"detail"`
	Encoded string `json:"encoded_authorization_message"`
}

type problemDetail struct {
	Code string `json:"error_code"`
	Text string `json:"error_msg"`
}

func (f *failure) body(id string) problemBody {
	b := problemBody{Code: f.code, Text: f.text, RequestID: id, Details: []problemDetail{},
		Errors: []problemError{{Code: f.code, Text: f.text, Detail: strings.Join(f.details, "; ")}}}
	for _, d := range f.details {
		b.Details = append(b.Details, problemDetail{Code: f.code, Text: d})
	}
	return b
}
