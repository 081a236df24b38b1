package kms

import (
	"errors"
	"strings"
)

// cutVersion splits SCHEME://KEY[?version=VERSION]. Nothing is percent-decoded:
// the stores that are named so have no names that would need it.
func cutVersion(uri, scheme string) (key, version string, err error) {
	rest, ok := strings.CutPrefix(uri, scheme)
	if !ok {
		return "", "", errors.New("it does not begin with " + scheme)
	}
	key, query, found := strings.Cut(rest, "?")
	if !found {
		return key, "", nil
	}
	version, ok = strings.CutPrefix(query, "version=")
	if !ok || version == "" || strings.Contains(version, "&") {
		return "", "", errors.New("what follows ? is no version")
	}
	return key, version, nil
}

// errNoVersions is for the URI of a key whose store has no versions.
var errNoVersions = errors.New("key URI has a query; asymmetric keys of this key store have no versions, so there is none")
