package configs

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The shapes of what clouds' APIs are asked for. Package registry refuses what
// has not these shapes, too; a test in cmd/sealwright keeps the two in step.
var (
	ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.[a-z]{2,}(?:-[a-z0-9]+)+\.(?:amazonaws\.com|amazonaws\.com\.cn|on\.aws|on\.amazonwebservices\.com\.cn)$`)
	garHost = regexp.MustCompile(`^(?:[a-z0-9-]+-docker\.pkg\.dev|(?:(?:us|eu|asia)\.)?gcr\.io)$`)
	acrHost = regexp.MustCompile(`^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|us)$`)
	tcrHost = regexp.MustCompile(`^[a-z0-9-]+\.tencentcloudcr\.com$`)
	swrHost = regexp.MustCompile(`^[a-z0-9-]+\.swr-pro\.(?:[a-z0-9-]+\.)?myhuaweicloud\.(?:com|eu)$`)
	// ociHost also has the hosts of private endpoints and other domains, which say
	// the region and not that they are Oracle's.
	ociHost  = regexp.MustCompile(`^(?:ocir\.)?[a-z0-9-]+\.(?:ocir\.io|oci\.[a-z0-9.-]+)$`)
	ocirHost = regexp.MustCompile(`^(?:[a-z0-9-]+\.ocir\.io|ocir\.[a-z0-9-]+\.oci\.[a-z0-9.-]+)$`)

	cloudRegion    = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	cloudID        = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
	tcrInstance    = regexp.MustCompile(`^tcr-[0-9a-z]{1,32}$`)
	ociCompartment = regexp.MustCompile(`^ocid1\.(?:compartment|tenancy)\.[a-z0-9]+\.[a-z0-9-]*\.[a-z0-9.]{1,128}$`)
	ociRegion      = regexp.MustCompile(`^(?:[a-z]{3}|[a-z]{2,8}(?:-[a-z0-9]{1,32}){1,4})$`)
	repositoryKey  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)
	gitlabPath     = regexp.MustCompile(`^/*[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*/*$`)
	quayNamespace  = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)
)

// kind is the kind that the registry is opened as if that is known without
// asking it, else Auto.
func (r *Registry) kind() Kind {
	if r.Kind != Auto {
		return r.Kind
	}
	if r.Layout() != "" {
		return OCILayout
	}
	host := strings.ToLower(r.Host)
	switch {
	case ecrHost.MatchString(host):
		return ECR
	case garHost.MatchString(host):
		return GAR
	case acrHost.MatchString(host):
		return ACR
	case ocirHost.MatchString(host):
		return OCIR
	case swrHost.MatchString(host):
		return SWR
	case tcrHost.MatchString(host):
		return TCR
	case host == "quay.io":
		return Quay
	case host == "registry.gitlab.com":
		return GitLab
	}
	return Auto
}

// cloudSettings are the settings of a vendor's API that a kind reads.
func cloudSettings(kind Kind) []string {
	switch kind {
	case Harbor:
		return []string{"api"}
	case Auto, Quay, Nexus, Artifactory, GitLab:
		return []string{"api", "cloud.project", "cloud.secret_file"}
	case ECR:
		return []string{"api", "cloud.region", "cloud.access_key", "cloud.secret_file", "cloud.config_file", "cloud.profile"}
	case GAR:
		return []string{"api", "cloud.region", "cloud.project", "cloud.config_file"}
	case OCIR:
		return []string{"api", "cloud.region", "cloud.compartment", "cloud.config_file", "cloud.profile"}
	case SWR:
		return []string{"api", "cloud.region", "cloud.project", "cloud.instance", "cloud.access_key", "cloud.secret_file"}
	case TCR:
		return []string{"api", "cloud.region", "cloud.instance", "cloud.access_key", "cloud.secret_file"}
	}
	return nil
}

// cloud refuses settings that the kind does not know, and pairs that are not
// whole.
func (v *validator) cloud(at place, r *Registry) {
	if !slices.Contains(kinds(), r.Kind) {
		return
	}
	known := cloudSettings(r.kind())
	c := &r.Cloud
	for _, set := range []setting{
		{"api", r.API}, {"cloud.region", c.Region}, {"cloud.project", c.Project}, {"cloud.instance", c.Instance},
		{"cloud.compartment", c.Compartment}, {"cloud.access_key", c.AccessKey}, {"cloud.secret_file", c.SecretFile},
		{"cloud.config_file", c.ConfigFile}, {"cloud.profile", c.Profile},
	} {
		if set.value == "" || slices.Contains(known, set.field) {
			continue
		}
		allowed := strings.Join(known, ", ")
		if allowed == "" {
			allowed = "no " + set.field
		}
		v.add(at, set.field, "does nothing for kind "+r.called(), allowed)
	}
	v.accessKey(at, r, known)
	v.api(at, r)
	for _, n := range r.needs() {
		switch {
		case n.missing() && r.Kind != Auto: // which does without, and warns
			v.add(at, n.field, "is required for kind "+r.called(), n.allowed)
		case n.malformed():
			v.add(at, n.field, quote(n.value)+" is not valid for kind "+r.called(), n.allowed)
		}
	}
}

// called is the kind as messages call it.
func (r *Registry) called() string {
	if r.Kind == Auto && r.kind() != Auto {
		return string(r.kind()) + ", which the host of kind auto says it is"
	}
	return string(r.Kind)
}

// accessKey refuses half a key, and two ways to log in to AWS.
func (v *validator) accessKey(at place, r *Registry, known []string) {
	c := &r.Cloud
	pair := slices.Contains(known, "cloud.access_key")
	switch {
	case c.AccessKey != "" && c.SecretFile == "":
		v.add(at, "cloud.secret_file", "is required with access_key", "the path of a file with the secret half")
	case pair && c.SecretFile != "" && c.AccessKey == "":
		v.add(at, "cloud.access_key", "is required with secret_file for kind "+r.called(), "the public half of the key whose secret half is in secret_file")
	case pair && c.AccessKey != "" && (c.ConfigFile != "" || c.Profile != ""):
		v.add(at, "cloud", "names both access_key and config_file or profile", "access_key and secret_file, or config_file and profile")
	}
}

// A need is a setting that a kind's API cannot be asked without, or that must
// have a shape if it is given.
type need struct {
	field, value string
	required     bool
	shape        *regexp.Regexp // nil: any
	allowed      string
}

func (n need) missing() bool { return n.required && n.value == "" }

func (n need) malformed() bool {
	return n.value != "" && n.shape != nil && !n.shape.MatchString(n.value)
}

// needs are what is known without the environment, which may have the rest.
func (r *Registry) needs() []need {
	c := &r.Cloud
	host := strings.ToLower(r.Host)
	switch r.kind() {
	case Quay:
		return []need{
			{"cloud.secret_file", c.SecretFile, true, nil, "the path of a file with an OAuth token with the scopes repo:read and user:read: Quay's API takes no other login"},
			{"cloud.project", c.Project, false, quayNamespace, "a namespace: an organization or a user"},
		}
	case Nexus, Artifactory:
		return []need{{"cloud.project", c.Project, true, repositoryKey, "the name of the repository that holds the images"}}
	case GitLab:
		_, port := splitHost(r.Host)
		return []need{
			{"cloud.project", c.Project, true, gitlabPath, "the path or id of a group or project"},
			{"api", r.API, port == "" && host != "registry.gitlab.com", nil, "the URL of GitLab, like https://gitlab.example.com: the registry's host does not tell it"},
		}
	case ECR:
		const allowed = ", or a host like ACCOUNT.dkr.ecr.REGION.amazonaws.com"
		return []need{
			{"cloud.region", c.Region, !ecrHost.MatchString(host), nil, "a region like eu-west-1" + allowed},
			{"api", r.API, !ecrHost.MatchString(host), nil, "the URL of ECR's API" + allowed},
		}
	case GAR:
		return []need{{"cloud.region", c.Region, c.Project != "" && !garHost.MatchString(host), nil, "the location of the project's repositories, or a host like LOCATION-docker.pkg.dev"}}
	case OCIR:
		return []need{
			{"cloud.compartment", c.Compartment, true, ociCompartment, "an OCID, ocid1.compartment.… or, for all compartments, ocid1.tenancy.…"},
			{"cloud.region", c.Region, r.API == "" && !ociHost.MatchString(host), ociRegion, "a region like eu-frankfurt-1, unless the host is REGION.ocir.io; or api"},
		}
	case SWR:
		return []need{
			{"cloud.instance", c.Instance, true, cloudID, "the id of an SWR Enterprise Edition instance"},
			{"cloud.project", c.Project, false, cloudID, "the project's id, also from the environment variable HUAWEICLOUD_SDK_PROJECT_ID"},
			{"cloud.region", c.Region, r.API == "", cloudRegion, "a region like cn-north-4, or api"},
		}
	case TCR:
		return []need{
			{"cloud.instance", c.Instance, true, tcrInstance, "the id of an instance like tcr-f7g1ir99"},
			{"cloud.region", c.Region, false, cloudRegion, "a region like ap-guangzhou, also from the environment variable TENCENTCLOUD_REGION"},
		}
	}
	return nil
}

// api never repeats the URL, which might hold a password.
func (v *validator) api(at place, r *Registry) {
	if r.API == "" {
		return
	}
	const allowed = "https://HOST[:PORT][/PATH], or http:// with insecure: true"
	u, err := url.Parse(r.API)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		v.add(at, "api", "is not a URL of a server", allowed)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		v.add(at, "api", "has more than host and path", allowed)
	case u.Scheme == "http" && !r.Insecure:
		v.add(at, "api", "would send credentials over plain HTTP", allowed)
	}
}
