package kms

import (
	"errors"
	"regexp"
)

var gcpURI = regexp.MustCompile(`^gcpkms://(projects/[A-Za-z0-9][A-Za-z0-9.:_-]*/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63})(?:/(?:cryptoKeyVersions|versions)/([1-9][0-9]{0,9}))?$`)

func parseGCP(uri string) (parent, version string, err error) {
	match := gcpURI.FindStringSubmatch(uri)
	if match == nil {
		return "", "", errors.New("key URI is none of Google Cloud KMS; allowed: gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K[/cryptoKeyVersions/V]")
	}
	return match[1], match[2], nil
}
