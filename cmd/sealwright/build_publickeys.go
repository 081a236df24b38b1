package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control/oci"
	"github.com/sealwright/sealwright/engine/policy"
	"github.com/sealwright/sealwright/kms"
)

// A keyVersion names a version of a key.
type keyVersion struct{ key, version string }

// A publicKey is the public half of a version that signs nothing here, or why it is
// not known now.
type publicKey struct {
	public *kms.PublicKey
	err    error
}

// publicKeys reads the public halves of versions of keys, and of keys that sign
// elsewhere. What a key store does not give now is no error: uploads that name it are
// refused until it does.
func (o *opener) publicKeys(ctx context.Context, cfg *configs.Config, stores map[string]openedStore) (map[keyVersion]publicKey, error) {
	known := map[keyVersion]publicKey{}
	for _, c := range cfg.PublicKeys {
		pem, err := os.ReadFile(c.PublicKeyFile)
		var public *kms.PublicKey
		if err == nil {
			public, err = kms.ParsePublicKey(pem, policy.RSAPSSSHA256) // any of RSA: each of the algorithms can be used with it
		}
		if err != nil {
			return nil, fmt.Errorf("public_keys: %s of key %q: %s: %w", c.Version, c.ID, c.PublicKeyFile, err)
		}
		name := c.ID
		if ours, ok := cfg.Key(c.ID); ok {
			name = ours.Name
		}
		known[keyVersion{name, c.Version}] = publicKey{public: public}
	}
	var mu sync.Mutex
	var reading sync.WaitGroup
	for _, c := range cfg.Keys {
		for _, id := range slices.Sorted(maps.Keys(c.Versions)) {
			version := c
			version.URI, version.PublicKeySHA256 = c.Versions[id], ""
			store, err := o.storeOf(version, stores)
			if err != nil {
				return nil, fmt.Errorf("key %q: versions: %s: %w", c.Name, id, err)
			}
			reading.Go(func() {
				p := readPublic(ctx, version, store)
				mu.Lock()
				defer mu.Unlock()
				known[keyVersion{c.Name, id}] = p
			})
		}
	}
	reading.Wait()
	return known, nil
}

// readPublic opens a version for its public half alone.
func readPublic(ctx context.Context, c configs.Key, store *kms.Store) publicKey {
	ctx, cancel := context.WithTimeout(ctx, keyPatience)
	defer cancel()
	signer, err := kms.Open(ctx, kms.Config{URI: c.URI, Store: store, Algorithm: c.Algorithm, Password: password(c.PasswordFile, c.PasswordEnv)})
	if err != nil {
		return publicKey{err: err}
	}
	return publicKey{public: signer.Public(), err: signer.Close()}
}

// PublicKey implements oci.Keys with the setup in force.
func (o *opener) PublicKey(keyID, versionID string) (*kms.PublicKey, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := keyID
	for n, k := range o.aliased {
		if slices.Contains(k, keyID) {
			name = n
		}
	}
	p, ok := o.publics[keyVersion{name, versionID}]
	if !ok {
		return nil, oci.ErrNoKey
	}
	return p.public, p.err
}
