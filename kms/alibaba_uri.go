package kms

import (
	"fmt"
	"regexp"
)

const alibabaURI = "alikms://KEY_ID or alikms://alias/NAME, with ?version=VERSION_ID to pin a version"

var (
	alibabaIDRE    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,127}$`)
	alibabaAliasRE = regexp.MustCompile(`^alias/[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)
)

// maxAlias is the length of the longest alias, in bytes.
const maxAlias = 255

func parseAlibaba(uri string) (key, version string, err error) {
	key, version, err = cutVersion(uri, "alikms://")
	switch {
	case err != nil:
		return "", "", fmt.Errorf("key URI: %w; allowed: %s", err, alibabaURI)
	case !alibabaIDRE.MatchString(key) && (!alibabaAliasRE.MatchString(key) || len(key) > maxAlias):
		return "", "", fmt.Errorf("key URI names no key; allowed: %s", alibabaURI)
	case version != "" && !alibabaIDRE.MatchString(version):
		return "", "", fmt.Errorf("key URI names no version; allowed: %s", alibabaURI)
	}
	return key, version, nil
}
