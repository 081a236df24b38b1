package configs

import "fmt"

// A PublicKey is the public half of an RSA key that signs elsewhere, in a vault of
// Oracle's for instance, or that did so before. Image signatures that are uploaded
// through Oracle Artifacts' API are verified with it.
type PublicKey struct {
	// ID is what uploads call the key: kmsKeyId. It may also be the name or an alias of
	// one of the keys.
	ID string `yaml:"id"`
	// Version is what uploads call the key's version: kmsKeyVersionId.
	Version string `yaml:"version"`
	// PublicKeyFile is the path of the PEM public key.
	PublicKeyFile string `yaml:"public_key_file"`
}

func (v *validator) publicKeys() {
	seen := map[[2]string]place{}
	for i, k := range v.config.PublicKeys {
		at := v.config.root.item("public_keys", i)
		named := v.required(at, "id", k.ID, idAllowed) && v.id(at.in("id"), k.ID)
		versioned := v.required(at, "version", k.Version, idAllowed) && v.id(at.in("version"), k.Version)
		v.required(at, "public_key_file", k.PublicKeyFile, "the path of a PEM public key")
		if !named || !versioned {
			continue
		}
		if first, taken := seen[[2]string{k.ID, k.Version}]; taken {
			v.add(at, "version", fmt.Sprintf("%s of key %s is already at %s", quote(k.Version), quote(k.ID), first), "each version of a key once")
			continue
		}
		seen[[2]string{k.ID, k.Version}] = at
		if ours, ok := v.config.Key(k.ID); ok && ours.Versions[k.Version] != "" {
			v.add(at, "version", fmt.Sprintf("%s is also under versions of key %s", quote(k.Version), quote(ours.Name)), "one of the two")
		}
	}
}
