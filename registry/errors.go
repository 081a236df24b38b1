package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxMessage is how much of a registry's words an error repeats, in bytes.
const maxMessage = 300

// A ResponseError is an answer that is no success. It wraps the sentinel its
// status and codes mean; callers that must tell more apart (an immutable tag,
// say) look at Codes.
type ResponseError struct {
	Status  int      // HTTP status
	Codes   []string // of the distribution specification, e.g. TAG_INVALID, or the registry's own
	Message string   // in the registry's words, shortened, on one line
	kind    error
}

// Error implements error.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("%s: %d %s", e.kind, e.Status, http.StatusText(e.Status))
	if len(e.Codes) > 0 {
		text += ": " + strings.Join(e.Codes, ", ")
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap returns one of the package's sentinels.
func (e *ResponseError) Unwrap() error { return e.kind }

// A diagnostic is one error of the distribution specification. Its detail is
// left out: it may be anything.
type diagnostic struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// responseError reads an answer that is no success, and closes it.
func responseError(resp *http.Response) *ResponseError {
	defer discard(resp)
	var answer struct {
		Errors []diagnostic `json:"errors"`
	}
	if raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)); err == nil {
		_ = json.Unmarshal(raw, &answer) // not JSON: the status says enough
	}
	return newResponseError(resp.StatusCode, answer.Errors)
}

func fromLibrary(answer *ggcr.Error) *ResponseError {
	diagnostics := make([]diagnostic, 0, len(answer.Errors))
	for _, d := range answer.Errors {
		diagnostics = append(diagnostics, diagnostic{Code: string(d.Code), Message: d.Message})
	}
	return newResponseError(answer.StatusCode, diagnostics)
}

func newResponseError(status int, diagnostics []diagnostic) *ResponseError {
	const most = 4
	if len(diagnostics) > most {
		diagnostics = diagnostics[:most]
	}
	e := &ResponseError{Status: status}
	messages := make([]string, 0, most)
	for _, d := range diagnostics {
		if code := plain(d.Code); code != "" {
			e.Codes = append(e.Codes, code)
		}
		if d.Message != "" {
			messages = append(messages, d.Message)
		}
	}
	e.Message = plain(strings.Join(messages, "; "))
	e.kind = kindOf(status, e.Codes)
	return e
}

// kindOf prefers the code to the status where registries disagree about the
// status: a manifest whose blobs are unknown is not a missing manifest.
func kindOf(status int, codes []string) error {
	switch {
	case slices.Contains(codes, string(ggcr.TooManyRequestsErrorCode)):
		return ErrRateLimited
	case slices.Contains(codes, string(ggcr.ManifestBlobUnknownErrorCode)):
		return ErrRejected
	case status >= 400 && status < 500 && slices.Contains(codes, string(ggcr.DeniedErrorCode)):
		return ErrForbidden
	}
	switch status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return ErrUnsupported
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case http.StatusRequestTimeout:
		return ErrUnavailable
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	}
	if status >= 500 {
		return ErrUnavailable
	}
	return ErrRejected
}

// refusedWith reports whether err is an answer with one of codes.
func refusedWith(err error, codes ...ggcr.ErrorCode) bool {
	var answer *ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	return slices.ContainsFunc(codes, func(code ggcr.ErrorCode) bool {
		return slices.Contains(answer.Codes, string(code))
	})
}

// plain shortens what others wrote and takes out what could forge a log line.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, " "))
	text = strings.TrimSpace(text)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
