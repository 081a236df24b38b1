package configs

import (
	"fmt"
	"slices"
	"strings"
)

// signatureKeys checks what encrypts signature keys.
func (v *validator) signatureKeys(c *Config) {
	at, k := c.root.in("signature_keys"), c.SignatureKeys
	switch {
	case k.SealKeyFile == "" && len(k.FormerSealKeyFiles) > 0:
		v.add(at, "seal_key_file", "is required with former_seal_key_files", "the path of a file with 64 hexadecimal digits")
	case k.SealKeyFile != "" && v.registryNames.set[sinksInstance]:
		v.add(c.root, "signature_keys", "have their instance "+quote(sinksInstance)+" hidden by the registry of that name", "another name for the registry, or no signature_keys")
	case k.SealKeyFile != "" && c.Listen == "":
		v.add(c.root, "signature_keys", "does nothing without listen", "no signature_keys, or listen: HOST:PORT")
	}
	for i, path := range k.FormerSealKeyFiles {
		v.required(at.item("former_seal_key_files", i), "", path, "the path of a file with 64 hexadecimal digits")
	}
	v.wrappingKey(at, k)
}

// wrappingKinds are the key stores that unwrap.
func wrappingKinds() []StoreKind { return []StoreKind{AWSKMS, HashiVault, OpenBao} }

func (v *validator) wrappingKey(signatureKeys place, k SignatureKeys) {
	at, w := signatureKeys.in("wrapping_key"), k.WrappingKey
	if w == (WrappingKey{}) {
		return
	}
	if k.SealKeyFile == "" {
		v.add(signatureKeys, "seal_key_file", "is required with wrapping_key", "the path of a file with what that key has encrypted")
	}
	v.reference(at, "store", w.Store, v.storeNames)
	const allowed = "awskms://, hashivault://, openbao://"
	if !v.required(at, "uri", w.URI, allowed) {
		return
	}
	scheme, _, _ := strings.Cut(w.URI, "://")
	if !slices.Contains(wrappingKinds(), StoreKind(scheme)) {
		v.add(at, "uri", "is not of a key store that unwraps", allowed)
		return
	}
	if strings.Contains(w.URI, "?") {
		v.add(at, "uri", "has a query", "no version: what is encrypted names it")
	}
	if s, ok := v.config.KeyStore(w.Store); ok && slices.Contains(storeKinds(), s.Kind) && string(s.Kind) != scheme {
		v.add(at, "store", fmt.Sprintf("%s is of kind %s, and uri begins with %s:", quote(w.Store), s.Kind, scheme), "a key store of kind "+scheme)
	}
}

// tracing checks where traces go.
func (v *validator) tracing(t Tracing) {
	at := v.config.root.in("tracing")
	if t.Endpoint == "" {
		for _, field := range []string{"ratio", "token_file"} {
			if at.in(field).given() {
				v.add(at, field, "does nothing without endpoint", "no "+field+", or endpoint")
			}
		}
		return
	}
	v.endpoint(at, t.Endpoint, t.TokenFile != "")
	if !(t.Ratio > 0 && t.Ratio <= 1) { // also what is no number
		v.add(at, "ratio", "is not allowed", "above 0 to 1")
	}
}
