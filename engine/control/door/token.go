package door

import (
	"fmt"
	"net/http"
	"strings"
)

// Token returns who sent a request with a token, in X-Auth-Token or as
// Authorization: Bearer, and its body.
func (d *Door) Token(r *http.Request) (Caller, []byte, error) {
	if TurnedAway(r) {
		return Caller{}, nil, ErrBusy
	}
	token, err := parseToken(r)
	if err != nil {
		return Caller{}, nil, err
	}
	h, err := d.keyring.Load().byToken(token)
	if err != nil {
		return Caller{}, nil, err
	}
	caller := h.callerCopy()
	if err := d.admit(caller, r); err != nil {
		return Caller{}, nil, err
	}
	body, err := d.read(r)
	if err != nil {
		return Caller{}, nil, &RefusedError{Caller: caller, Why: err}
	}
	return caller, body, nil
}

func parseToken(r *http.Request) (string, error) {
	bearer, tokens := r.Header["Authorization"], r.Header["X-Auth-Token"]
	switch {
	case len(bearer)+len(tokens) == 0:
		return "", ErrNoCredentials
	case len(bearer)+len(tokens) > 1:
		return "", malformed("more than one of X-Auth-Token and Authorization, want one")
	case len(tokens) == 1:
		return checkToken(tokens[0])
	}
	scheme, token, _ := strings.Cut(bearer[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", fmt.Errorf("%w: the Authorization header does not begin with Bearer", ErrUnsupported)
	}
	return checkToken(token)
}

func checkToken(token string) (string, error) {
	if token == "" || len(token) > maxAuthorization {
		return "", malformed("the token is empty or longer than %d bytes", maxAuthorization)
	}
	return token, nil
}
