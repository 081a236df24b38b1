package kms

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// regionRE is what a region's name may be: it becomes part of host names.
var regionRE = regexp.MustCompile(`^[a-z0-9]{1,16}(?:-[a-z0-9]{1,32}){0,5}$`)

const (
	// ofStore names the field where nothing else is meant.
	ofStore         = "endpoint of the key store"
	allowedEndpoint = "https://HOST[:PORT], or http:// for a loopback host"
)

// endpointURL checks the URL of a key store, which field names in errors.
// Credentials are sent there, so it is HTTPS, unless nobody is on the way.
func endpointURL(field, endpoint string) (*url.URL, error) {
	at, err := url.Parse(endpoint)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Hostname() == "" ||
		at.User != nil || at.RawQuery != "" || at.ForceQuery || at.Fragment != "" {
		return nil, errors.New(field + " is no URL of a host; allowed: " + allowedEndpoint)
	}
	if at.Scheme == "http" && !loopback(at.Hostname()) {
		return nil, errors.New(field + " is plain HTTP, and credentials could be read on the way; allowed: " + allowedEndpoint)
	}
	return at, nil
}

// hostURL checks an endpoint that has to be a host and no more.
func hostURL(endpoint string) (*url.URL, error) {
	at, err := endpointURL(ofStore, endpoint)
	if err != nil {
		return nil, err
	}
	if strings.Trim(at.Path, "/") != "" {
		return nil, errors.New(ofStore + " has a path; allowed: " + allowedEndpoint)
	}
	at.Path = ""
	return at, nil
}

func loopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
