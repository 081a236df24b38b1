package policy

// Format is how a signature is laid out in the registry.
type Format string

// The signature formats.
const (
	FormatCosign       Format = "cosign"        // simple signing, tag sha256-<hex>.sig
	FormatBundle       Format = "bundle"        // sigstore bundle v0.3, a referrer
	FormatNotationJWS  Format = "notation-jws"  // Notary Project, JWS envelope, a referrer
	FormatNotationCOSE Format = "notation-cose" // Notary Project, COSE envelope, a referrer
)

// Formats lists the allowed values of Policy.Formats.
var Formats = []string{string(FormatCosign), string(FormatBundle), string(FormatNotationJWS), string(FormatNotationCOSE)}

// IsNotation reports whether the format is one of the Notary Project's, which
// need a certificate.
func (f Format) IsNotation() bool { return f == FormatNotationJWS || f == FormatNotationCOSE }

// Impossible says why no signature of the format can be made with the
// algorithm; "" if one can.
func (f Format) Impossible(a Algorithm) string {
	switch family := a.Family(); {
	case f == FormatBundle && family == SM2:
		return "sigstore bundles know no SM2"
	case f.IsNotation() && family == SM2:
		return "the Notary Project's signatures know no SM2"
	case f.IsNotation() && family == RSAPKCS1:
		return "the Notary Project's signatures know RSA only with PSS"
	}
	return ""
}

// Unloggable says why no transparency log takes signatures made with the
// algorithm; "" if there are logs that do. They know a key's algorithm by the key,
// so each kind of key has only one there.
func (a Algorithm) Unloggable() string {
	switch family := a.Family(); {
	case family == SM2:
		return "transparency logs know no SM2"
	case family == RSAPSS, family == RSAPKCS1 && a != RSAPKCS1SHA256:
		return "transparency logs know RSA only as " + string(RSAPKCS1SHA256)
	}
	return ""
}

// A TimestampAuthority is an RFC 3161 server and whom to trust for its answers.
type TimestampAuthority struct {
	// URL is where timestamps are asked for.
	URL string `yaml:"url" json:"url"`
	// CA is the path of the PEM root certificates of the authority.
	CA string `yaml:"ca" json:"ca"`
}

// Timestamps are authorities, asked in this order until one answers. In a file
// a single one may be written without the list.
type Timestamps []TimestampAuthority
