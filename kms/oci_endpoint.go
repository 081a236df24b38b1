package kms

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

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
	at, err := hostURL(cfg.Endpoint)
	if err != nil {
		return "", "", err
	}
	base := at.String()
	return strings.Replace(base, ociManagementHost, ociCryptoHost, 1), strings.Replace(base, ociCryptoHost, ociManagementHost, 1), nil
}

// domain is the region's part of host names.
func (r ociRef) domain(configured string) (string, error) {
	name := cmp.Or(configured, r.region)
	region := common.StringToRegion(name)
	if !strings.Contains(string(region), "-") || !regionRE.MatchString(string(region)) { // a code that is unknown has none
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
