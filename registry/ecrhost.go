package registry

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
)

// ecrHost is how Amazon names its registries: over IPv4 alone or over both, and
// those of validated cryptography (FIPS).
var ecrHost = regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(-fips)?\.([a-z]{2,}(?:-[a-z0-9]+)+)\.(amazonaws\.com|amazonaws\.com\.cn|on\.aws|on\.amazonwebservices\.com\.cn)$`)

// An ecrPlace is whose registry it is, and where its API is.
type ecrPlace struct {
	account string // "": that of the credentials
	region  string
	usual   string // the API's base URL; "": only the configuration tells
}

// newECRPlace reads the host, unless cfg says it.
func newECRPlace(cfg Config) (ecrPlace, error) {
	var place ecrPlace
	if parts := ecrHost.FindStringSubmatch(strings.ToLower(cfg.Host)); parts != nil {
		place = ecrPlace{account: parts[1], region: parts[3], usual: ecrEndpoint(parts[3], parts[2], parts[4])}
	}
	place.region = cmp.Or(cfg.Cloud.Region, place.region)
	if place.region == "" || cmp.Or(cfg.API, place.usual) == "" {
		return ecrPlace{}, fmt.Errorf("host %s is none of ACCOUNT.dkr.ecr.REGION.amazonaws.com: want cloud.region and api too", cfg.Host)
	}
	return place, nil
}

// ecrEndpoint returns where AWS says that the API of a registry's host is.
func ecrEndpoint(region, fips, domain string) string {
	switch domain {
	case "on.aws":
		return "https://ecr" + fips + "." + region + ".api.aws"
	case "on.amazonwebservices.com.cn":
		return "https://ecr." + region + ".api.amazonwebservices.com.cn"
	}
	if fips != "" {
		return "https://ecr-fips." + region + "." + domain
	}
	return "https://api.ecr." + region + "." + domain
}
