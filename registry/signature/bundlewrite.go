package signature

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

const (
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	// annotationKey has the hint of the key that signed, so that a look reads
	// that signature before those of others. No verifier knows it.
	annotationKey = "io.github.sealwright.key"
)

// bundleFile is a bundle, written with its members in the order that cosign has
// them.
type bundleFile struct {
	MediaType            string               `json:"mediaType"`
	VerificationMaterial verificationMaterial `json:"verificationMaterial"`
	DSSEEnvelope         json.RawMessage      `json:"dsseEnvelope"`
}

type verificationMaterial struct {
	PublicKey struct {
		Hint string `json:"hint"`
	} `json:"publicKey"`
	TlogEntries               []json.RawMessage          `json:"tlogEntries,omitempty"`
	TimestampVerificationData *timestampVerificationData `json:"timestampVerificationData,omitempty"`
}

type timestampVerificationData struct {
	RFC3161Timestamps []signedTimestamp `json:"rfc3161Timestamps"`
}

type signedTimestamp struct {
	SignedTimestamp []byte `json:"signedTimestamp"`
}

type dsseEnvelope struct {
	Payload     []byte          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []dsseSignature `json:"signatures"`
}

type dsseSignature struct {
	Sig []byte `json:"sig"`
}

// newEnvelope returns a signed statement.
func newEnvelope(statement, sig []byte) []byte {
	return encode(dsseEnvelope{statement, payloadInToto, []dsseSignature{{sig}}})
}

// newBundle returns the bundle of an envelope that the key with this hint
// signed. A nil timestamp or entry means that there is none.
func newBundle(hint string, envelope, timestamp, entry []byte) ([]byte, error) {
	f := bundleFile{MediaType: bundleType, DSSEEnvelope: envelope}
	f.VerificationMaterial.PublicKey.Hint = hint
	if timestamp != nil {
		f.VerificationMaterial.TimestampVerificationData = &timestampVerificationData{[]signedTimestamp{{timestamp}}}
	}
	if entry != nil {
		f.VerificationMaterial.TlogEntries = []json.RawMessage{entry}
	}
	return json.Marshal(f)
}

// keyHint returns what bundles call a key: the digest of its DER
// SubjectPublicKeyInfo, as cosign does.
func keyHint(publicKey []byte) string {
	sum := sha256.Sum256(publicKey)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// newBundleCarrier returns the manifest that carries a bundle.
func newBundleCarrier(content []byte, hint string, now time.Time) carrier {
	return carrier{
		artifactType:       bundleType,
		configType:         "application/vnd.oci.empty.v1+json",
		configArtifactType: bundleType,
		contentType:        bundleType,
		content:            content,
		annotations: map[string]string{
			annotationContent:   "dsse-envelope",
			annotationPredicate: predicateSign,
			annotationCreated:   now.UTC().Format(time.RFC3339),
			annotationKey:       hint,
		},
	}
}

// bundlesBy returns the kind of bundles, those first that we made with the key
// that has this hint. What is shown to be an attestation of something else is
// not read.
func bundlesBy(hint string) kind {
	return kind{artifactType: bundleType, contentType: bundleType, rank: func(annotations map[string]string) int {
		if t, said := annotations[annotationPredicate]; said && t != predicateSign {
			return -1
		}
		if hint != "" && annotations[annotationKey] == hint {
			return 0
		}
		return 1
	}}
}
