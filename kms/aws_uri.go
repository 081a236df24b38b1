package kms

import (
	"errors"
	"regexp"
	"strings"
)

// An awsRef is what an awskms URI says.
type awsRef struct {
	endpoint string // URL, or empty
	key      string // key id, key ARN, alias/NAME or alias ARN
	region   string // of the ARN, or empty
}

const (
	awsKeyID = `(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-f]{32})`
	awsAlias = `alias/[A-Za-z0-9/_-]{1,250}`
	awsARN   = `arn:aws[a-z-]*:kms:([a-z0-9-]{1,32}):[0-9]{12}:`
)

var (
	awsURI    = regexp.MustCompile(`^awskms://([A-Za-z0-9.-]+(?::[0-9]{1,5})?)?/(` + awsKeyID + `|` + awsAlias + `|` + awsARN + `(?:key/` + awsKeyID + `|` + awsAlias + `))$`)
	awsKeyARN = regexp.MustCompile(`^` + awsARN + `key/[A-Za-z0-9-]+$`)
)

func parseAWS(uri string) (awsRef, error) {
	if strings.Contains(uri, "?") {
		return awsRef{}, errNoVersions
	}
	match := awsURI.FindStringSubmatch(uri)
	if match == nil {
		return awsRef{}, errors.New("key URI is none of AWS KMS; allowed: awskms://[HOST[:PORT]]/KEY, where KEY is a key id, a key ARN, alias/NAME or an alias ARN")
	}
	ref := awsRef{key: match[2], region: match[3]}
	if match[1] != "" {
		ref.endpoint = "https://" + match[1]
	}
	return ref, nil
}
