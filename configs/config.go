// Package configs reads Sealwright's configuration: strictly, completely, and
// with every fault reported at once, each with its file, line and field. What
// Load returns can be relied on; only what depends on other files is left to
// CheckFiles.
package configs

import (
	"github.com/sealwright/sealwright/engine/policy"
)

// Defaults of what a file leaves out.
const (
	DefaultKind              = Generic
	DefaultRequestsPerSecond = 50.0
	DefaultConcurrency       = 16
	DefaultState             = "/var/lib/sealwright"
)

// A Config is a whole configuration: one main file and the policy files that it
// names. Paths in it are absolute.
type Config struct {
	// Registries are where artifacts are found and signatures are put.
	Registries []Registry `yaml:"registries,omitempty"`
	// KeyStores are where keys are that are not in files.
	KeyStores []KeyStore `yaml:"key_stores,omitempty"`
	// Keys are what policies sign with.
	Keys []Key `yaml:"keys,omitempty"`
	// Policies say what must be signed. Load appends those of the policy files.
	Policies []policy.Policy `yaml:"policies,omitempty"`
	// PolicyFiles are paths or globs of files with a list of policies, relative
	// to the directory of the main file.
	PolicyFiles []string `yaml:"policy_files,omitempty"`
	// State is where the journal is kept: a directory, for embedded SQLite, or a
	// postgres:// URL without a password. Default /var/lib/sealwright.
	State string `yaml:"state,omitempty"`
	// Remember is how long a verified signature is believed without asking the
	// registry again: a duration in hours or days, 1h to 90d, or 0 for never.
	// Default 8d.
	Remember string `yaml:"remember,omitempty"`
	// DriftScan is when everything that is remembered is verified again, and
	// signed again where its signature was lost: six cron fields in UTC, or never.
	// Default "0 0 3 * * 0", Sundays at 03:00.
	DriftScan string `yaml:"drift_scan,omitempty"`
	// MinScheduleInterval is how far apart the ticks of a policy that comes through an
	// API must be: a duration, 1s to 24h. Those of files may be as close as they like.
	// Default 1m.
	MinScheduleInterval string `yaml:"min_schedule_interval,omitempty"`
	// AuditRetention is how long entries of the audit log are kept: a duration in hours
	// or days, 1d to 3650d, or 0 for as long as there is the state. Default 365d.
	AuditRetention string `yaml:"audit_retention,omitempty"`
	// Listen is the address at which events are received and callers are answered,
	// HOST:PORT. Empty means that only the control socket in the state directory is served.
	Listen string `yaml:"listen,omitempty"`
	// TLS is the certificate for it, required unless it is a loopback address.
	TLS TLS `yaml:"tls,omitempty"`
	// Instances are what vendor APIs call the registries.
	Instances []Instance `yaml:"instances,omitempty"`
	// PublicKeys are those of keys that sign elsewhere, by which uploaded image
	// signatures are verified.
	PublicKeys []PublicKey `yaml:"public_keys,omitempty"`
	// Access says who may ask at listen for more than health.
	Access []Access `yaml:"access,omitempty"`
	// Sinks are where signature records are delivered to.
	Sinks []Sink `yaml:"sinks,omitempty"`

	// SignatureKeys are what the credentials of APIG's callers are encrypted with.
	SignatureKeys SignatureKeys `yaml:"signature_keys,omitempty"`
	// Tracing says where traces of executions are sent. Empty: nowhere.
	Tracing Tracing `yaml:"tracing,omitempty"`

	root     place   // the main file; its zero value when there is none
	policies []place // of each policy
	notes    []Fault // warnings from loading
}

// A Registry is one place where artifacts are found.
type Registry struct {
	// Name is how policies call the registry.
	Name string `yaml:"name"`
	// Host is HOST or HOST:PORT, or oci-layout:/DIRECTORY for kind oci-layout.
	Host string `yaml:"host"`
	// Kind is how the registry lists what it holds. Default generic.
	Kind Kind `yaml:"kind,omitempty"`
	// Insecure means plain HTTP. Default false.
	Insecure bool `yaml:"insecure,omitempty"`
	// Storage is the root directory of a registry of kind distribution or zot
	// whose file system is mounted here, so that untagged artifacts can be seen.
	Storage string `yaml:"storage,omitempty"`
	// API is the base URL of the registry's own API, where it is not at the host.
	API string `yaml:"api,omitempty"`
	// Cloud says whose registry it is, for kinds whose API asks for that.
	Cloud Cloud `yaml:"cloud,omitempty"`
	// Auth is how to log in. Empty means anonymously.
	Auth Auth `yaml:"auth,omitempty"`
	// Limits bound the load that is put on the host.
	Limits Limits `yaml:"limits,omitempty"`
	// Events says how the registry tells what was pushed.
	Events Events `yaml:"events,omitempty"`
}

func (r *Registry) setDefaults() { r.Kind = DefaultKind; r.Limits.setDefaults() }

// Kind is how a registry lists what it holds.
type Kind string

// The registry kinds.
const (
	Generic      Kind = "generic"      // the OCI distribution API alone
	Auto         Kind = "auto"         // found out from the host's name, or by asking
	Distribution Kind = "distribution" // CNCF distribution, perhaps with its storage at hand
	Harbor       Kind = "harbor"
	Zot          Kind = "zot"
	GAR          Kind = "gar"
	ECR          Kind = "ecr"
	ACR          Kind = "acr"
	OCIR         Kind = "ocir"
	SWR          Kind = "swr"
	Quay         Kind = "quay"
	TCR          Kind = "tcr"
	Nexus        Kind = "nexus"
	Artifactory  Kind = "artifactory"
	GitLab       Kind = "gitlab"
	OCILayout    Kind = "oci-layout" // a directory
)

// Cloud says where in a vendor's cloud a registry is, and how to log in to its
// own API. Which fields are used depends on the kind; what is empty comes from
// the vendor's usual environment variables and files.
type Cloud struct {
	// Region is the vendor's name of the region.
	Region string `yaml:"region,omitempty"`
	// Project is the project, the group, or the repository key.
	Project string `yaml:"project,omitempty"`
	// Instance is the id of the registry's instance.
	Instance string `yaml:"instance,omitempty"`
	// Compartment is an OCID of Oracle Cloud.
	Compartment string `yaml:"compartment,omitempty"`
	// AccessKey is the public half of an access key pair; it needs SecretFile.
	AccessKey string `yaml:"access_key,omitempty"`
	// SecretFile is the path of a file that holds the secret half, or a token.
	SecretFile string `yaml:"secret_file,omitempty"`
	// ConfigFile is the path of the vendor's own credentials file.
	ConfigFile string `yaml:"config_file,omitempty"`
	// Profile is the section of that file.
	Profile string `yaml:"profile,omitempty"`
}

// Auth is how to log in to a registry: by a Docker configuration file, or by
// user name and password file.
type Auth struct {
	// DockerConfig is the path of a Docker config.json, of a .dockerconfigjson or
	// .dockercfg of Kubernetes, or of a directory with one of these two.
	DockerConfig string `yaml:"docker_config,omitempty"`
	// Username is the user's name; it needs PasswordFile.
	Username string `yaml:"username,omitempty"`
	// PasswordFile is the path of a file that holds the password or token.
	PasswordFile string `yaml:"password_file,omitempty"`
}

// Limits bound the load that is put on one registry host.
type Limits struct {
	// RequestsPerSecond is 0.1 to 10000. Default 50.
	RequestsPerSecond float64 `yaml:"requests_per_second,omitempty" jsonschema:"minimum=0.1,maximum=10000,default=50"`
	// Concurrency is how many requests are under way at once, 1 to 512. Default
	// 16.
	Concurrency int `yaml:"concurrency,omitempty" jsonschema:"minimum=1,maximum=512,default=16"`
}

func (l *Limits) setDefaults() {
	*l = Limits{RequestsPerSecond: DefaultRequestsPerSecond, Concurrency: DefaultConcurrency}
}

// A Key is what policies sign with.
type Key struct {
	// Name is how policies call the key.
	Name string `yaml:"name"`
	// Aliases are other names of the key, such as the id that a vendor's API
	// gives it.
	Aliases []string `yaml:"aliases,omitempty"`
	// URI names the key: file:/PATH, or a key of a key store.
	URI string `yaml:"uri"`
	// Store is the name of the key store. Default: what the vendor's usual
	// environment variables describe.
	Store string `yaml:"store,omitempty"`
	// Algorithm is how the key signs. Empty means the key's usual one; an RSA key
	// has none.
	Algorithm policy.Algorithm `yaml:"algorithm,omitempty"`
	// PublicKeySHA256 pins the key: lower-case hexadecimal SHA-256 of its DER
	// SubjectPublicKeyInfo. Empty means no pin.
	PublicKeySHA256 string `yaml:"public_key_sha256,omitempty" jsonschema:"pattern=^([0-9a-f]{64})?$"`
	// PasswordFile is the path of a file that holds the password of an encrypted
	// private key.
	PasswordFile string `yaml:"password_file,omitempty"`
	// PasswordEnv is the environment variable that holds the password.
	PasswordEnv string `yaml:"password_env,omitempty"`
	// Versions are the URIs of other versions of the key, by the id that a
	// vendor's API gives them.
	Versions map[string]string `yaml:"versions,omitempty"`
	// CertificateChain is the path of the PEM chain of the key's certificate, leaf
	// first. Formats notation-jws and notation-cose need it.
	CertificateChain string `yaml:"certificate_chain,omitempty"`
	// CertificateWindow is how long the certificate must still be valid for the
	// key to sign: a duration in hours or days, such as 168h or 7d. Default 24h.
	CertificateWindow string `yaml:"certificate_window,omitempty"`
	// Disabled means that the key must not sign. Default false.
	Disabled bool `yaml:"disabled,omitempty"`
	// DisableFile is the path of a file that, as long as it is there, keeps the
	// key from signing.
	DisableFile string `yaml:"disable_file,omitempty"`
}

// TLS is a certificate and its private key.
type TLS struct {
	// CertFile is the path of a PEM certificate chain.
	CertFile string `yaml:"cert_file,omitempty"`
	// KeyFile is the path of its PEM private key.
	KeyFile string `yaml:"key_file,omitempty"`
}

// SignatureKeys are what encrypts the secrets of signature keys: credentials that
// sign requests to sinks and prove who sent events. They are managed by APIG's API.
type SignatureKeys struct {
	// SealKeyFile is the path of a file with the key that encrypts: 64 hexadecimal
	// digits, or, with WrappingKey, 32 bytes as that key has encrypted them. Empty means
	// that there are no signature keys.
	SealKeyFile string `yaml:"seal_key_file,omitempty"`
	// FormerSealKeyFiles are paths of keys that encrypted before, in either form. What
	// they encrypted is encrypted again at the start.
	FormerSealKeyFiles []string `yaml:"former_seal_key_files,omitempty"`
	// WrappingKey is what has encrypted the key in SealKeyFile.
	WrappingKey WrappingKey `yaml:"wrapping_key,omitempty"`
}

// WrappingKey is a symmetric key in a key store, which decrypts a data key at the start.
type WrappingKey struct {
	// URI names the key: awskms://, hashivault:// or openbao://, as in Key, without a
	// version. Empty means that files hold the key as it is.
	URI string `yaml:"uri,omitempty"`
	// Store is the name of the key store, if it is one of KeyStores.
	Store string `yaml:"store,omitempty"`
}

// Tracing says where traces of executions are sent.
type Tracing struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP; without a path it
	// is /v1/traces.
	Endpoint string `yaml:"endpoint,omitempty"`
	// TokenFile is the path of a file that holds a bearer token for it.
	TokenFile string `yaml:"token_file,omitempty"`
	// Ratio is the share of executions that is traced, above 0 to 1. Default 1.
	Ratio float64 `yaml:"ratio,omitempty" jsonschema:"exclusiveMinimum=0,maximum=1,default=1"`
}

func (t *Tracing) setDefaults() { t.Ratio = 1 }

// An Instance is what vendor APIs call a registry.
type Instance struct {
	// ID is the vendor's id.
	ID string `yaml:"id"`
	// Registry is the name of a registry.
	Registry string `yaml:"registry"`
}

// Access is one caller of what is served at listen, and what proves who it is.
type Access struct {
	// Name is how the caller is called in records.
	Name string `yaml:"name"`
	// Role is what the caller may do.
	Role Role `yaml:"role"`
	// AccessKey is the public half of an access key pair; it needs
	// SecretKeyFile.
	AccessKey string `yaml:"access_key,omitempty"`
	// SecretKeyFile is the path of a file that holds the secret half.
	SecretKeyFile string `yaml:"secret_key_file,omitempty"`
	// OCIKeyID is TENANCY/USER/FINGERPRINT; it needs PublicKeyFile.
	OCIKeyID string `yaml:"oci_key_id,omitempty"`
	// PublicKeyFile is the path of the caller's PEM public key, RSA of at least 2048
	// bits.
	PublicKeyFile string `yaml:"public_key_file,omitempty"`
	// CertificateFile is the path of a PEM file with the TLS client certificate of the
	// caller.
	CertificateFile string `yaml:"certificate_file,omitempty"`
	// TokenFile is the path of a file that holds a bearer token of at least 32
	// characters.
	TokenFile string `yaml:"token_file,omitempty"`
	// TokenSHA256 is the SHA-256 of such a token in lower-case hexadecimal, for who
	// does not want to keep the token itself here.
	TokenSHA256 string `yaml:"token_sha256,omitempty" jsonschema:"pattern=^([0-9a-f]{64})?$"`
	// Registries are the names of the registries that the caller sees. Empty
	// means all.
	Registries []string `yaml:"registries,omitempty"`
	// Namespaces are those that the caller sees in these registries, with what is
	// below them. Empty means all.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// Keys are the names of the keys that policies which the caller makes may use.
	// Empty means all, for who sees all registries and namespaces, and none for others.
	Keys []string `yaml:"keys,omitempty"`
}

// Role is what a caller of the HTTP API may do.
type Role string

// The roles, each of which may do what the one before may.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Admin    Role = "admin"
)

func (c *Config) setDefaults() {
	c.State, c.Remember, c.DriftScan = DefaultState, DefaultRemember, DefaultDriftScan
	c.MinScheduleInterval, c.AuditRetention = DefaultMinScheduleInterval, DefaultAuditRetention
}

// Registry returns the registry of that name.
func (c *Config) Registry(name string) (*Registry, bool) {
	for i := range c.Registries {
		if c.Registries[i].Name == name {
			return &c.Registries[i], true
		}
	}
	return nil, false
}

// Key returns the key of that name or alias.
func (c *Config) Key(name string) (*Key, bool) {
	for i := range c.Keys {
		if c.Keys[i].is(name) {
			return &c.Keys[i], true
		}
	}
	return nil, false
}

// Policy returns the policy of that name.
func (c *Config) Policy(name string) (*policy.Policy, bool) {
	for i := range c.Policies {
		if c.Policies[i].Name == name {
			return &c.Policies[i], true
		}
	}
	return nil, false
}

func (k *Key) is(name string) bool {
	if k.Name == name {
		return true
	}
	for _, alias := range k.Aliases {
		if alias == name {
			return true
		}
	}
	return false
}
