package configs

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
