package kms

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A vaultRef is what a URI names. Version 0 is the latest one.
type vaultRef struct {
	mount, name string
	version     int
}

func (r vaultRef) String() string { return r.mount + "/" + r.name }

const vaultURI = "allowed: //[MOUNT/]KEY[?version=N] of letters, digits, _ - . and for MOUNT /"

var (
	vaultPartRE    = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`) // what Vault takes for a key's name
	vaultVersionRE = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
)

// parseVault reads a key's URI without its scheme.
func parseVault(rest string) (vaultRef, error) {
	path, version, err := cutVersion(rest, "//")
	if err != nil {
		return vaultRef{}, fmt.Errorf("key URI: %w; %s", err, vaultURI)
	}
	ref := vaultRef{mount: "transit", name: path}
	if slash := strings.LastIndexByte(path, '/'); slash >= 0 {
		ref.mount, ref.name = path[:slash], path[slash+1:]
	}
	for _, part := range append(strings.Split(ref.mount, "/"), ref.name) {
		if len(part) > 255 || !vaultPartRE.MatchString(part) {
			return vaultRef{}, errors.New("a part of the URI's path is empty or has characters that are not allowed; " + vaultURI)
		}
	}
	if version != "" && !vaultVersionRE.MatchString(version) {
		return vaultRef{}, errors.New("key URI names no version of 1 or more; " + vaultURI)
	}
	ref.version, _ = strconv.Atoi(version) // the pattern leaves only what fits
	return ref, nil
}
