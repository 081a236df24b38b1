package registry

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// The kinds of registries that can be configured.
const (
	KindGeneric      = "generic"      // the distribution API alone
	KindDistribution = "distribution" // docker distribution, with its storage directory
	KindHarbor       = "harbor"
	KindZot          = "zot"
	KindGAR          = "gar"
	KindECR          = "ecr"
	KindACR          = "acr"
	KindOCIR         = "ocir"
	KindSWR          = "swr"
	KindQuay         = "quay"
	KindTCR          = "tcr"
	KindNexus        = "nexus"
	KindArtifactory  = "artifactory"
	KindGitLab       = "gitlab"
	KindAuto         = "auto"       // found out by asking
	KindOCILayout    = "oci-layout" // a directory
)

// Defaults of Config.
const (
	DefaultRequestsPerSecond = 50
	DefaultConcurrency       = 16
)

const (
	defaultPageSize  = 1000
	defaultUserAgent = "sealwright"
)

// layoutScheme stands before the directory in the host of an oci-layout.
const layoutScheme = "oci-layout:"

// A Config describes one registry. Name, Host and Kind are required.
type Config struct {
	Name string
	// Host is host[:port], or oci-layout:DIR.
	Host string
	Kind string
	// Insecure means plain HTTP to this host, and only that; without it only
	// HTTPS is spoken, to loopback addresses too.
	Insecure bool
	// Keychain has the credentials. Nil: anonymous.
	Keychain authn.Keychain
	// Storage is the registry's storage directory, where untagged manifests
	// are found; for kinds distribution and zot. "": they cannot be seen.
	Storage string
	Limits  Limits
	// API is the base URL of the registry's own API, where it is not at Host.
	// Plain HTTP is refused unless Insecure.
	API string
	// Cloud says whose registry it is, for kinds whose API asks for that.
	Cloud Cloud
	// UserAgent is sent with every request. Default "sealwright".
	UserAgent string
	// Transport sends requests instead of an own http.Transport. It should
	// neither retry nor follow redirects.
	Transport http.RoundTripper
	// PageSize is how many names are asked for at once. Default 1000.
	PageSize int
}

// Cloud says where in a vendor's cloud a registry is, and how to log in to its
// API where that is not the registry's own login. Which fields are used depends
// on the kind; what is empty comes from the vendor's usual environment variables
// and files.
type Cloud struct {
	Region      string // ecr, gar, swr, tcr, ocir
	Project     string // gar: project; swr: project id; gitlab: group or project path; quay: namespace; nexus, artifactory: the repository that holds ours
	Instance    string // swr: instance id; tcr: registry id
	Compartment string // ocir: compartment OCID
	AccessKey   string // ecr, swr, tcr: the public half
	// Secret returns the secret half, or the token of gitlab, nexus, artifactory
	// and quay where it is not the registry's password. Nil: none.
	Secret     func() ([]byte, error)
	ConfigFile string // ecr, ocir, gar: path of the vendor's own credentials file
	Profile    string // ecr, ocir: section of that file
}

// Limits are what a registry host may be asked at most, by all repositories
// and policies together. Its token server and storage count with it.
type Limits struct {
	// RequestsPerSecond is lowered while the host throttles us. Default
	// DefaultRequestsPerSecond.
	RequestsPerSecond float64
	// Concurrency is the number of requests under way, and of manifests that
	// an inventory resolves at once. Default DefaultConcurrency.
	Concurrency int
}

// Open returns the registry that cfg describes. It sends no request; what it
// finds wrong with cfg is reported all at once.
func Open(cfg Config) (Registry, error) {
	switch cfg.Kind {
	case KindOCILayout:
		return openLayouts(cfg)
	case KindAuto:
		if strings.HasPrefix(cfg.Host, layoutScheme) {
			return openAutoLayouts(cfg)
		}
	case KindGeneric, KindDistribution, KindHarbor, KindZot, KindQuay, KindGAR, KindECR, KindACR, KindOCIR, KindSWR, KindTCR,
		KindNexus, KindArtifactory, KindGitLab:
	default:
		return nil, fmt.Errorf("registry %s: kind: %q is none of %s", cfg.Name, cfg.Kind, strings.Join([]string{
			KindGeneric, KindAuto, KindDistribution, KindHarbor, KindZot, KindGAR, KindECR, KindACR, KindOCIR, KindSWR,
			KindQuay, KindTCR, KindNexus, KindArtifactory, KindGitLab, KindOCILayout,
		}, ", "))
	}
	client, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	r, err := openOver(client, cfg)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", cfg.Name, err)
	}
	return r, nil
}

// openOver returns a client's registry of a kind. It sends no request.
func openOver(client *Client, cfg Config) (Registry, error) {
	switch cfg.Kind {
	case KindAuto:
		return openAuto(client, cfg)
	case KindGeneric:
		return &generic{Client: client}, nil
	case KindDistribution:
		return openDistribution(client, cfg)
	case KindZot:
		return openZot(client, cfg)
	default:
		return openListed(client, cfg)
	}
}

// complete returns cfg with its defaults and the parsed host, or every fault.
func (cfg Config) complete() (Config, name.Registry, error) {
	if cfg.Limits.RequestsPerSecond == 0 {
		cfg.Limits.RequestsPerSecond = DefaultRequestsPerSecond
	}
	if cfg.Limits.Concurrency == 0 {
		cfg.Limits.Concurrency = DefaultConcurrency
	}
	if cfg.PageSize == 0 {
		cfg.PageSize = defaultPageSize
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = defaultUserAgent
	}
	if cfg.Keychain == nil {
		cfg.Keychain = Static("", "")
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("registry %s: "+format, append([]any{cfg.Name}, args...)...))
	}
	rate := cfg.Limits.RequestsPerSecond
	if rate <= 0 || math.IsNaN(rate) || math.IsInf(rate, 0) {
		fault("limits.requests_per_second: %v: want a number above 0", rate)
	}
	if cfg.Limits.Concurrency < 0 {
		fault("limits.concurrency: %d: want at least 1", cfg.Limits.Concurrency)
	}
	if cfg.PageSize < 0 {
		fault("page size: %d: want at least 1", cfg.PageSize)
	}
	host, err := parseHost(cfg.Host, cfg.Insecure)
	if err != nil {
		fault("host: %w", err)
	}
	return cfg, host, errors.Join(faults...)
}

func parseHost(host string, insecure bool) (name.Registry, error) {
	if host == "" || strings.ContainsAny(host, "/@?# ") {
		return name.Registry{}, fmt.Errorf("%q: want host[:port]", host)
	}
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(host, options...)
	if err != nil {
		return name.Registry{}, fmt.Errorf("%q: want host[:port]: %w", host, err)
	}
	return registry, nil
}
