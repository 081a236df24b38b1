package kms

import (
	"fmt"
	"regexp"
)

const ociURI = "ocikms://ocid1.key.REALM.REGION.VAULT.ID, with ?version=ocid1.keyversion.… to pin a version"

var (
	ociKeyRE     = regexp.MustCompile(`^ocid1\.key\.([a-z0-9]{1,32})\.([a-z0-9-]{1,64})\.([a-z0-9]{1,63})\.[a-z0-9]{1,128}$`)
	ociVersionRE = regexp.MustCompile(`^ocid1\.keyversion\.[a-z0-9]{1,32}\.[a-z0-9-]{1,64}(\.[a-z0-9]{1,128}){1,3}$`)
)

// An ociRef is what the URI of a key in an OCI vault says.
type ociRef struct {
	id      string // OCID of the key
	region  string // in the OCID: a name or a three letter code
	vault   string // the vault's part of host names
	version string // OCID of the version, "" for the current one
}

func parseOCI(uri string) (ociRef, error) {
	id, version, err := cutVersion(uri, "ocikms://")
	if err != nil {
		return ociRef{}, fmt.Errorf("key URI: %w; allowed: %s", err, ociURI)
	}
	parts := ociKeyRE.FindStringSubmatch(id)
	switch {
	case parts == nil:
		return ociRef{}, fmt.Errorf("key URI names no OCID of a key; allowed: %s", ociURI)
	case version != "" && !ociVersionRE.MatchString(version):
		return ociRef{}, fmt.Errorf("key URI names no OCID of a key version; allowed: %s", ociURI)
	}
	return ociRef{id: id, region: parts[2], vault: parts[3], version: version}, nil
}
