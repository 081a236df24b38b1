package kms

import (
	"errors"
	"regexp"
)

var azureURI = regexp.MustCompile(`^azurekms://([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::[0-9]{1,5})?)/([0-9A-Za-z-]{1,127})(?:/([0-9A-Za-z]{1,64}))?$`)

func parseAzure(uri string) (host, name, version string, err error) {
	match := azureURI.FindStringSubmatch(uri)
	if match == nil {
		return "", "", "", errors.New("key URI is none of Azure Key Vault; allowed: azurekms://VAULT_HOST/KEY[/VERSION]")
	}
	return match[1], match[2], match[3], nil
}
