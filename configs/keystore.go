package configs

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A KeyStore is where keys are that are not in files. What it does not say, the
// vendor's usual environment variables and files say.
type KeyStore struct {
	// Name is how keys call the store.
	Name string `yaml:"name"`
	// Kind is the scheme of the URIs of its keys.
	Kind StoreKind `yaml:"kind"`
	// Endpoint is the URL of the store instead of the vendor's usual one.
	Endpoint string `yaml:"endpoint,omitempty"`
	// Region is the vendor's name of the region.
	Region string `yaml:"region,omitempty"`
	// Namespace is a namespace of Vault.
	Namespace string `yaml:"namespace,omitempty"`
	// Project is a project id of Huawei Cloud.
	Project string `yaml:"project,omitempty"`
	// CAFile is the path of PEM certificates that are trusted besides the
	// system's.
	CAFile string `yaml:"ca_file,omitempty"`
	// Auth is how to log in.
	Auth StoreAuth `yaml:"auth,omitempty"`
	// Limits bound the load that all keys together put on the store.
	Limits Limits `yaml:"limits,omitempty"`
	// Timeout bounds one request, from 100ms to 5m. Default 10s.
	Timeout string `yaml:"timeout,omitempty"`
	// Helper is the unix socket of sealwright-pkcs11. Default
	// /run/sealwright-pkcs11/pkcs11.sock.
	Helper string `yaml:"helper,omitempty"`
	// Plugin is the absolute path of a program that speaks sigstore's key store
	// plugin protocol.
	Plugin string `yaml:"plugin,omitempty"`
}

func (s *KeyStore) setDefaults() { s.Limits.setDefaults() }

// StoreKind is a kind of key store: the scheme of its keys' URIs.
type StoreKind string

// The kinds of key stores.
const (
	AWSKMS     StoreKind = "awskms"
	AzureKMS   StoreKind = "azurekms"
	GCPKMS     StoreKind = "gcpkms"
	HashiVault StoreKind = "hashivault"
	OpenBao    StoreKind = "openbao"
	HuaweiKMS  StoreKind = "huaweikms"
	TencentKMS StoreKind = "tencentkms"
	OCIKMS     StoreKind = "ocikms"
	AliKMS     StoreKind = "alikms"
	PKCS11     StoreKind = "pkcs11"
	Plugin     StoreKind = "plugin"
)

func storeKinds() []StoreKind {
	return []StoreKind{AWSKMS, AzureKMS, GCPKMS, HashiVault, OpenBao, HuaweiKMS, TencentKMS, OCIKMS, AliKMS, PKCS11, Plugin}
}

// StoreAuth is how to log in to a key store. Which fields a store knows depends
// on its kind.
type StoreAuth struct {
	// TokenFile is the path of a file that holds a token of Vault or OpenBao.
	TokenFile string `yaml:"token_file,omitempty"`
	// RoleID is an AppRole's id; it needs SecretIDFile.
	RoleID string `yaml:"role_id,omitempty"`
	// SecretIDFile is the path of a file that holds the AppRole's secret id.
	SecretIDFile string `yaml:"secret_id_file,omitempty"`
	// KubernetesRole is the role of Vault's Kubernetes login.
	KubernetesRole string `yaml:"kubernetes_role,omitempty"`
	// JWTFile is the path of the service account token for it.
	JWTFile string `yaml:"jwt_file,omitempty"`
	// Mount is the path of the auth method, where it is not the usual one.
	Mount string `yaml:"mount,omitempty"`
	// AccessKey is the public half of an access key pair; it needs SecretKeyFile.
	AccessKey string `yaml:"access_key,omitempty"`
	// SecretKeyFile is the path of a file that holds the secret half.
	SecretKeyFile string `yaml:"secret_key_file,omitempty"`
	// ConfigFile is the path of the vendor's own credentials file.
	ConfigFile string `yaml:"config_file,omitempty"`
	// Profile is the section of that file.
	Profile string `yaml:"profile,omitempty"`
}

// settings lists the store's settings that not every kind knows, with their
// values.
func (s *KeyStore) settings() []setting {
	a := &s.Auth
	return []setting{
		{"endpoint", s.Endpoint}, {"region", s.Region}, {"namespace", s.Namespace}, {"project", s.Project},
		{"ca_file", s.CAFile}, {"helper", s.Helper}, {"plugin", s.Plugin},
		{"auth.token_file", a.TokenFile}, {"auth.role_id", a.RoleID}, {"auth.secret_id_file", a.SecretIDFile},
		{"auth.kubernetes_role", a.KubernetesRole}, {"auth.jwt_file", a.JWTFile}, {"auth.mount", a.Mount},
		{"auth.access_key", a.AccessKey}, {"auth.secret_key_file", a.SecretKeyFile},
		{"auth.config_file", a.ConfigFile}, {"auth.profile", a.Profile},
	}
}

type setting struct{ field, value string }

// knownSettings are those settings that a kind knows.
func knownSettings(kind StoreKind) []string {
	pair := []string{"auth.access_key", "auth.secret_key_file"}
	file := []string{"auth.config_file", "auth.profile"}
	switch kind {
	case AWSKMS:
		return slices.Concat([]string{"endpoint", "region", "ca_file"}, pair, file)
	case GCPKMS:
		return []string{"endpoint", "ca_file", "auth.config_file"}
	case AzureKMS:
		return []string{"endpoint", "ca_file"}
	case HashiVault, OpenBao:
		return []string{"endpoint", "namespace", "ca_file", "auth.token_file", "auth.role_id", "auth.secret_id_file",
			"auth.kubernetes_role", "auth.jwt_file", "auth.mount"}
	case HuaweiKMS:
		return slices.Concat([]string{"endpoint", "region", "project", "ca_file"}, pair)
	case TencentKMS, AliKMS:
		return slices.Concat([]string{"endpoint", "region", "ca_file"}, pair)
	case OCIKMS:
		return slices.Concat([]string{"endpoint", "region", "ca_file"}, file)
	case PKCS11:
		return []string{"helper"}
	case Plugin:
		return []string{"plugin"}
	}
	return nil
}

func (v *validator) keyStores() {
	seen := map[string]place{}
	for i := range v.config.KeyStores {
		s, at := &v.config.KeyStores[i], v.config.root.item("key_stores", i)
		v.name(at, s.Name, seen)
		if !slices.Contains(storeKinds(), s.Kind) {
			problem := "is required"
			if s.Kind != "" {
				problem = quote(string(s.Kind)) + " is not a key store"
			}
			v.add(at, "kind", problem, join(storeKinds()))
			continue
		}
		known := knownSettings(s.Kind)
		for _, set := range s.settings() {
			if set.value != "" && !slices.Contains(known, set.field) {
				v.add(at, set.field, "does nothing for kind "+string(s.Kind), strings.Join(known, ", "))
			}
		}
		v.storeAuth(at.in("auth"), &s.Auth)
		v.storeEndpoint(at, s)
		v.limits(at.in("limits"), s.Limits)
		if _, err := s.timeout(); err != nil {
			v.add(at, "timeout", quote(s.Timeout)+" is not allowed", "100ms to 5m, such as 10s")
		}
		if s.Kind == Plugin && !filepath.IsAbs(s.Plugin) {
			v.add(at, "plugin", "is not an absolute path", "the absolute path of a program; nothing is looked up on PATH")
		}
	}
}

func (v *validator) storeAuth(at place, a *StoreAuth) {
	pairs := []struct{ field, value, other, otherValue string }{
		{"role_id", a.RoleID, "secret_id_file", a.SecretIDFile},
		{"access_key", a.AccessKey, "secret_key_file", a.SecretKeyFile},
	}
	for _, p := range pairs {
		if (p.value == "") != (p.otherValue == "") {
			missing, has := p.field, p.other
			if p.value != "" {
				missing, has = p.other, p.field
			}
			v.add(at, missing, "is required with "+has, "both or neither")
		}
	}
	if a.JWTFile != "" && a.KubernetesRole == "" {
		v.add(at, "kubernetes_role", "is required with jwt_file", "the name of a role")
	}
	ways := 0
	for _, way := range []string{a.TokenFile, a.RoleID, a.KubernetesRole, a.AccessKey, a.ConfigFile} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		v.add(at, "", "names several ways to log in", "one of token_file, role_id, kubernetes_role, access_key, config_file")
	}
}

// storeEndpoint never repeats the URL, which might hold a password.
func (v *validator) storeEndpoint(at place, s *KeyStore) {
	if s.Endpoint == "" {
		return
	}
	v.endpoint(at, s.Endpoint, true)
}

// endpoint checks the URL of a server, which it never repeats.
func (v *validator) endpoint(at place, value string, credentials bool) {
	allowed := "https://HOST[:PORT][/PATH], or http:// for a loopback host"
	if !credentials {
		allowed = "https://HOST[:PORT][/PATH], or http://"
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		v.add(at, "endpoint", "is not a URL of a server", allowed)
	case u.User != nil:
		v.add(at, "endpoint", "holds credentials, and secrets are never written inline", allowed)
	case u.RawQuery != "" || u.Fragment != "":
		v.add(at, "endpoint", "has a query or a fragment", allowed)
	case credentials && u.Scheme == "http" && !(&Registry{Host: u.Host}).loopback():
		v.add(at, "endpoint", "would send credentials over plain HTTP", allowed)
	}
}

// timeout returns Timeout, 0 if it is not set.
func (s *KeyStore) timeout() (time.Duration, error) {
	if s.Timeout == "" {
		return 0, nil
	}
	return durationIn(s.Timeout, 100*time.Millisecond, 5*time.Minute)
}

// TimeoutDuration is Timeout as a duration, 0 if it is not set.
func (s *KeyStore) TimeoutDuration() time.Duration {
	d, _ := s.timeout() // validated
	return d
}
