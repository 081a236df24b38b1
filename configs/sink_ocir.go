package configs

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sealwright/sealwright/engine/policy"
)

// The shapes of what a sink of kind ocir tells Oracle.
var (
	ociRegionName   = regexp.MustCompile(`^[a-z]{2,8}(?:-[a-z0-9]{1,32}){1,4}$`)
	ociNamespace    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	ociKeyOCID      = regexp.MustCompile(`^ocid1\.key\.[a-z0-9]{1,32}\.[a-z0-9-]{1,64}(?:\.[a-z0-9]{1,128}){1,3}$`)
	ociKeyVersionID = regexp.MustCompile(`^ocid1\.keyversion\.[a-z0-9]{1,32}\.[a-z0-9-]{0,64}(?:\.[a-z0-9]{1,128}){1,3}$`)
)

// imageAlgorithms are those of Oracle's image signatures that keys here have.
func imageAlgorithms() []policy.Algorithm {
	return []policy.Algorithm{policy.RSAPSSSHA256, policy.RSAPSSSHA384, policy.RSAPSSSHA512}
}

func (v *validator) ocirSink(at place, s *Sink) {
	if v.required(at, "registry", s.Registry, "the name of a registry") {
		v.reference(at, "registry", s.Registry, v.registryNames)
	}
	if v.required(at, "key", s.Key, "the name of a key") {
		v.reference(at, "key", s.Key, v.keyNames)
	}
	const regions = "a region like us-phoenix-1"
	if v.required(at, "region", s.Region, regions) {
		v.shaped(at, "region", s.Region, ociRegionName, regions)
	}
	v.shaped(at, "namespace", s.Namespace, ociNamespace, "the namespace of a tenancy")
	v.shaped(at, "compartment", s.Compartment, ociCompartment, "an OCID, ocid1.compartment.… or ocid1.tenancy.…")
	v.oracleEndpoint(at, s.Endpoint)
	if k, ok := v.config.Key(s.Key); ok {
		v.ocirKey(at, s, k)
	}
}

func (v *validator) shaped(at place, field, value string, shape *regexp.Regexp, allowed string) {
	if value != "" && !shape.MatchString(value) {
		v.add(at, field, quote(value)+" is not allowed", allowed)
	}
}

// ocirKey checks that the key can make image signatures, and that it is known what
// Oracle calls it.
func (v *validator) ocirKey(at place, s *Sink, k *Key) {
	if !slices.Contains(imageAlgorithms(), k.Algorithm) {
		problem := "signs with " + string(k.Algorithm)
		if k.Algorithm == "" {
			problem = "has no algorithm"
		}
		v.add(at, "key", quote(k.Name)+" "+problem, "a key with algorithm "+join(imageAlgorithms()))
	}
	scheme, _, _ := strings.Cut(k.URI, ":")
	for _, id := range []struct {
		field, value string
		shape        *regexp.Regexp
		allowed      string
	}{
		{"key_id", s.KeyID, ociKeyOCID, "the OCID of the key, ocid1.key.…"},
		{"key_version_id", s.KeyVersionID, ociKeyVersionID, "the OCID of the version that signs, ocid1.keyversion.…"},
	} {
		switch {
		case StoreKind(scheme) == OCIKMS && at.in(id.field).given():
			v.add(at, id.field, "does nothing for a key of ocikms, which says it", "no "+id.field)
		case StoreKind(scheme) != OCIKMS && v.required(at, id.field, id.value, id.allowed):
			v.shaped(at, id.field, id.value, id.shape, id.allowed)
		}
	}
}

// oracleEndpoint never repeats the URL, which might hold a secret.
func (v *validator) oracleEndpoint(at place, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	problem := ""
	switch {
	case err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https"}, u.Scheme):
		problem = "is not a URL of a server"
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		problem = "has more than scheme, host and port"
	case u.Scheme == "http" && !(&Registry{Host: u.Host}).loopback():
		problem = "would send signed requests over plain HTTP"
	}
	if problem != "" {
		v.add(at, "endpoint", problem, "https://HOST[:PORT], or http:// for a loopback host")
	}
}

// OracleKeyID is what Oracle calls the key that a sink of kind ocir signs with.
func (c *Config) OracleKeyID(s Sink) string {
	if k, ok := c.Key(s.Key); ok && s.KeyID == "" {
		id, _, _ := strings.Cut(strings.TrimPrefix(k.URI, string(OCIKMS)+"://"), "?")
		return id
	}
	return s.KeyID
}
