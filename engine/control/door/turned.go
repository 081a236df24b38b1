package door

import (
	"context"
	"net/http"
)

type turnedKey struct{}

// TurnAway returns a request that there is no room for: a door refuses it with ErrBusy if
// it is well-formed, whoever sent it, and reads nothing of its body. So the API that it is
// for says that in its own words.
func TurnAway(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), turnedKey{}, true))
}

// TurnedAway reports whether there is no room for a request.
func TurnedAway(r *http.Request) bool { return r.Context().Value(turnedKey{}) != nil }
