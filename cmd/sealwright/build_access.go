package main

import (
	"crypto/md5" //nolint:gosec // Oracle's fingerprint of a key, which proves nothing here
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sealwright/sealwright/configs"
	"github.com/sealwright/sealwright/engine/control/door"
	"github.com/sealwright/sealwright/engine/control/rights"
	"github.com/sealwright/sealwright/kms"
)

// How long a token and the secret of an access key are at least, in bytes: what is
// shorter may be guessed. Vendors make secrets of 32 and 40.
const (
	minToken     = 32
	minSecretKey = 32
)

// roles are what the door calls the configuration's roles.
var roles = map[configs.Role]door.Role{configs.Viewer: door.Viewer, configs.Operator: door.Operator, configs.Admin: door.Admin}

// callers returns who may ask at listen, and when the certificates of those expire who
// have one.
func callers(cfg *configs.Config) ([]door.Credential, map[string]time.Time, error) {
	var list []door.Credential
	expire := map[string]time.Time{}
	var errs []error
	for _, a := range cfg.Access {
		c, expires, err := caller(a)
		if !expires.IsZero() {
			expire[a.Name] = expires
		}
		for _, name := range a.Keys {
			if k, ok := cfg.Key(name); ok {
				c.Keys = append(c.Keys, k.Name) // which may be called by an alias
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("access %q: %w", a.Name, err))
			continue
		}
		list = append(list, c)
	}
	return list, expire, errors.Join(errs...)
}

func caller(a configs.Access) (c door.Credential, expires time.Time, err error) {
	c = door.Credential{Name: a.Name, Role: roles[a.Role], Registries: a.Registries, Namespaces: a.Namespaces}
	switch {
	case a.TokenFile != "":
		token, err := readSecret(a.TokenFile, minToken)
		if err != nil {
			return c, expires, fmt.Errorf("token_file: %w", err)
		}
		c.TokenSHA256 = sha256.Sum256(token)
	case a.TokenSHA256 != "":
		sum, err := hex.DecodeString(a.TokenSHA256)
		if err != nil || len(sum) != sha256.Size {
			return c, expires, errors.New("token_sha256: is not a SHA-256")
		}
		c.TokenSHA256 = [sha256.Size]byte(sum)
	case a.CertificateFile != "":
		chain, err := kms.ReadCertificates(a.CertificateFile)
		if err != nil {
			return c, expires, fmt.Errorf("certificate_file: %w", err)
		}
		expires, c.CertificateSHA256 = chain[0].NotAfter, sha256.Sum256(chain[0].Raw)
	case a.AccessKey != "":
		secret, err := readSecret(a.SecretKeyFile, minSecretKey)
		if err != nil {
			return c, expires, fmt.Errorf("secret_key_file: %w", err)
		}
		c.AccessKey, c.Secret = a.AccessKey, secret
	case a.OCIKeyID != "":
		public, err := ociPublicKey(a.PublicKeyFile, a.OCIKeyID)
		if err != nil {
			return c, expires, fmt.Errorf("public_key_file: %s: %w", a.PublicKeyFile, err)
		}
		c.OCIKeyID, c.OCIPublicKey = a.OCIKeyID, public
	}
	return c, expires, nil
}

// ociPublicKey reads an RSA public key, which must be the one whose fingerprint the
// key id ends with.
func ociPublicKey(path, keyID string) (*rsa.PublicKey, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("is no PEM block PUBLIC KEY, like those of openssl rsa -pubout")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("is no RSA key; OCI's API keys are")
	}
	sum := md5.Sum(block.Bytes) //nolint:gosec // as above
	fingerprint := strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":"), ":")
	if !strings.HasSuffix(keyID, "/"+fingerprint) {
		return nil, fmt.Errorf("has the fingerprint %s, which is not that of oci_key_id", fingerprint)
	}
	return public, nil
}

// admit lets in who may ask by a configuration, and nobody else any more. If it
// fails, nothing has changed.
func (d *service) admit(cfg *configs.Config) error {
	list, expire, err := callers(cfg)
	if err != nil {
		return err
	}
	if err := d.door.Replace(list); err != nil {
		return fmt.Errorf("access: %w", err)
	}
	d.certificates.admit(expire)
	instances := make([]rights.Instance, len(cfg.Instances))
	for i, x := range cfg.Instances {
		instances[i] = rights.Instance{ID: x.ID, Registry: x.Registry}
	}
	registries := make([]string, len(cfg.Registries))
	for i := range cfg.Registries {
		registries[i] = cfg.Registries[i].Name
	}
	d.rights.Replace(instances, registries)
	return nil
}
