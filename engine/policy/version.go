package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Version names what the policy signs and how: 16 hexadecimal digits that stay
// the same as long as the registry, namespace, scope, index mode, key, formats,
// witnesses, signature repository and domain do. Its name, description, enabled flag and trigger do not count,
// nor does spelling out a default.
func (p *Policy) Version() string {
	canonical, err := json.Marshal(struct {
		Registry  string      `json:"registry"`
		Namespace string      `json:"namespace"`
		Scope     []ScopeRule `json:"scope"`
		Index     IndexMode   `json:"index"`
		Key       string      `json:"key"`
		Formats   []Format    `json:"formats"`
		Domain    string      `json:"domain"`

		// Left out where not set, so that versions of policies without them stay.
		Timestamp           Timestamps `json:"timestamp,omitempty"`
		TransparencyLog     string     `json:"transparency_log,omitempty"`
		TransparencyLogKey  string     `json:"transparency_log_key,omitempty"`
		SignatureRepository string     `json:"signature_repository,omitempty"`
	}{p.Registry, p.Namespace, p.Scope, p.IndexMode(), p.Key, p.SignatureFormats(), p.Domain,
		p.Timestamp, p.TransparencyLog, p.TransparencyLogKey, p.SignatureRepository})
	if err != nil {
		// Strings, booleans and slices of them always encode.
		panic(fmt.Sprintf("encoding policy %q: %v", p.Name, err))
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:8])
}
