package kms

import (
	"errors"
	"regexp"
	"strings"
)

// keyUUID is the form of a key's id at Huawei and Tencent.
const keyUUID = `[0-9a-z]{8}(?:-[0-9a-z]{4}){3}-[0-9a-z]{12}`

var (
	huaweiID   = regexp.MustCompile(`^` + keyUUID + `$`)
	huaweiName = regexp.MustCompile(`^(?:` + keyUUID + `|alias/[0-9A-Za-z:/_-]{1,249})$`)
)

// parseHuawei returns the key id or the alias that a huaweikms URI names.
func parseHuawei(uri string) (string, error) {
	name, ok := strings.CutPrefix(uri, "huaweikms://")
	if strings.Contains(name, "?") {
		return "", errNoVersions
	}
	if !ok || !huaweiName.MatchString(name) {
		return "", errors.New("key URI is none of Huawei Cloud KMS; allowed: huaweikms://KEY_ID, where KEY_ID is 36 characters like 0d0466b0-e727-4d9c-b35d-f84bb474a37f, or huaweikms://alias/NAME")
	}
	return name, nil
}
