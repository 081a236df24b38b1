package kms

import (
	"errors"
	"regexp"
	"strings"
)

var tencentID = regexp.MustCompile(`^` + keyUUID + `$`)

// parseTencent returns the key id that a tencentkms URI names.
func parseTencent(uri string) (string, error) {
	id, ok := strings.CutPrefix(uri, "tencentkms://")
	if strings.Contains(id, "?") {
		return "", errNoVersions
	}
	if !ok || !tencentID.MatchString(id) {
		return "", errors.New("key URI is none of Tencent Cloud KMS; allowed: tencentkms://KEY_ID, where KEY_ID is 36 characters like 22d79428-61d9-11ea-a3c8-525400a1b2c3")
	}
	return id, nil
}
