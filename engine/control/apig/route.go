package apig

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/sealwright/sealwright/engine/control/door"
)

// An operation is one of the API's.
type operation struct {
	name string // the vendor's
	role door.Role
	run  func(*handler, context.Context, call) (answer, error)
}

// operations are those of the API by method and path. {id} stands for any one.
var operations = map[string]operation{ //nolint:gochecknoglobals // a table
	"POST signs":                      {"CreateSignatureKeyV2", door.Admin, (*handler).create},
	"GET signs":                       {"ListSignatureKeysV2", door.Viewer, (*handler).list},
	"PUT signs/{id}":                  {"UpdateSignatureKeyV2", door.Admin, (*handler).update},
	"DELETE signs/{id}":               {"DeleteSignatureKeyV2", door.Admin, (*handler).delete},
	"POST sign-bindings":              {"AssociateSignatureKeyV2", door.Admin, (*handler).bind},
	"DELETE sign-bindings/{id}":       {"DisassociateSignatureKeyV2", door.Admin, (*handler).unbind},
	"GET sign-bindings/binded-apis":   {"ListApisBindedToSignatureKeyV2", door.Viewer, (*handler).boundAPIs},
	"GET sign-bindings/unbinded-apis": {"ListApisNotBoundWithSignatureKeyV2", door.Viewer, (*handler).unboundAPIs},
	"GET sign-bindings/binded-signs":  {"ListSignatureKeysBindedToApiV2", door.Viewer, (*handler).boundSigns},
}

// A target is what a request is for.
type target struct {
	operation
	instance, id string
}

// route finds the operation by the path as it was sent: what is escaped in a segment
// stays in it.
func route(r *http.Request) (target, bool) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	if len(segments) < 7 || len(segments) > 8 {
		return target{}, false
	}
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil || (plain == "") != (i == 0) || plain == "." || plain == ".." {
			return target{}, false
		}
		segments[i] = plain
	}
	if segments[1] != "v2" || segments[3] != "apigw" || segments[4] != "instances" {
		return target{}, false
	}
	t := target{instance: segments[5]}
	key := r.Method + " " + segments[6]
	op, ok := operations[key]
	if len(segments) == 8 {
		t.id = segments[7]
		if op, ok = operations[key+"/"+t.id]; !ok {
			op, ok = operations[key+"/{id}"]
		}
	}
	t.operation = op
	return t, ok
}

var identifier = regexp.MustCompile(`^[0-9a-f]{32}$`)

// isID reports whether a text may be the id of a signature key or a binding.
func isID(text string) bool { return identifier.MatchString(text) }
