package kms

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

const ociURI = "ocikms://ocid1.key.REALM.REGION.VAULT.ID, with ?version=ocid1.keyversion.… to pin a version"

var (
	ociKeyRE     = regexp.MustCompile(`^ocid1\.key\.([a-z0-9]{1,32})\.([a-z0-9-]{1,64})\.([a-z0-9]{1,63})\.[a-z0-9]{1,128}$`)
	ociVersionRE = regexp.MustCompile(`^ocid1\.keyversion\.[a-z0-9]{1,32}\.[a-z0-9-]{1,64}(\.[a-z0-9]{1,128}){1,3}$`)
	ociRegionRE  = regexp.MustCompile(`^[a-z]{2,8}(-[a-z0-9]{1,32}){1,4}$`)
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

// cutVersion splits SCHEME://KEY[?version=VERSION]. Nothing is percent-decoded:
// the stores that are named so have no names that would need it.
func cutVersion(uri, scheme string) (key, version string, err error) {
	key, query, found := strings.Cut(strings.TrimPrefix(uri, scheme), "?")
	if !found {
		return key, "", nil
	}
	version, ok := strings.CutPrefix(query, "version=")
	if !ok || version == "" || strings.Contains(version, "&") {
		return "", "", fmt.Errorf("what follows ? is no version")
	}
	return key, version, nil
}

// Host names of the two services of one vault differ in these.
const (
	ociCryptoHost     = "-crypto.kms."
	ociManagementHost = "-management.kms."
)

// endpoints returns where to sign with the key and where to ask about it. An
// endpoint of the key store's description that is one of the two stands for
// both; any other serves both.
func (r ociRef) endpoints(cfg StoreConfig) (crypto, management string, err error) {
	if cfg.Endpoint == "" {
		domain, err := r.domain(cfg.Region)
		if err != nil {
			return "", "", err
		}
		return "https://" + r.vault + ociCryptoHost + domain, "https://" + r.vault + ociManagementHost + domain, nil
	}
	at, err := endpointURL(cfg.Endpoint)
	if err != nil {
		return "", "", err
	}
	if at.Path != "" && at.Path != "/" {
		return "", "", fmt.Errorf("endpoint of the key store has a path; allowed: https://HOST[:PORT]")
	}
	base := (&url.URL{Scheme: at.Scheme, Host: at.Host}).String()
	return strings.Replace(base, ociManagementHost, ociCryptoHost, 1), strings.Replace(base, ociCryptoHost, ociManagementHost, 1), nil
}

// domain is the region's part of host names.
func (r ociRef) domain(configured string) (string, error) {
	name := configured
	if name == "" {
		name = r.region
	}
	region := common.StringToRegion(name)
	if !ociRegionRE.MatchString(string(region)) {
		return "", fmt.Errorf("region %s is unknown; set the key store's region to a name like eu-frankfurt-1, or its endpoint", shorten(name))
	}
	label := "oci."
	if ociOldRegion(region) {
		label = ""
	}
	return string(region) + "." + label + region.SecondLevelDomain(), nil
}

// ociOldRegion reports whether the vaults of a region were opened before host
// names got the label "oci".
func ociOldRegion(region common.Region) bool {
	switch region {
	case common.RegionIAD, common.RegionPHX, common.RegionLHR, common.RegionFRA,
		common.RegionCAToronto1, common.RegionCAMontreal1, common.RegionSASaopaulo1,
		common.RegionEUZurich1, common.RegionEUAmsterdam1, common.RegionMEJeddah1,
		common.RegionAPTokyo1, common.RegionAPOsaka1, common.RegionAPSeoul1, common.RegionAPChuncheon1,
		common.RegionAPMumbai1, common.RegionAPHyderabad1, common.RegionAPSydney1, common.RegionAPMelbourne1,
		common.RegionUSLangley1, common.RegionUSLuke1, common.RegionUSGovAshburn1, common.RegionUSGovChicago1,
		common.RegionUSGovPhoenix1, common.RegionUKGovLondon1, common.RegionUKGovCardiff1:
		return true
	}
	return false
}
