package registry

import (
	"regexp"
	"strings"
)

// The hosts that say whose registry they are; see also ecrHost, garHost and
// gcrHost. Package configs has twins of all of them, because neither package may
// import the other.
var (
	acrHost     = regexp.MustCompile(`^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|us)$`)
	tcrOwnHost  = regexp.MustCompile(`^[a-z0-9-]+\.tencentcloudcr\.com$`)
	ocirOwnHost = regexp.MustCompile(`^(?:[a-z0-9-]+\.ocir\.io|ocir\.[a-z0-9-]+\.oci\.[a-z0-9.-]+)$`)
	// swrOwnHost is that of an instance of the Enterprise Edition: the basic one
	// has no listing of its own.
	swrOwnHost = regexp.MustCompile(`^[a-z0-9-]+\.swr-pro\.(?:[a-z0-9-]+\.)?myhuaweicloud\.(?:com|eu)$`)
)

const quayHost = "quay.io"

// hostKind returns the kind that a host's name says, and how; "" if it says
// none.
func hostKind(host string) (kind, because string) {
	host = strings.ToLower(host)
	switch {
	case ecrHost.MatchString(host):
		return KindECR, "the host is one of Amazon ECR"
	case garHost.MatchString(host), gcrHost.MatchString(host):
		return KindGAR, "the host is one of Google Artifact Registry"
	case acrHost.MatchString(host):
		return KindACR, "the host is one of Azure Container Registry"
	case ocirOwnHost.MatchString(host):
		return KindOCIR, "the host is one of Oracle's container registry"
	case swrOwnHost.MatchString(host):
		return KindSWR, "the host is one of Huawei's SWR Enterprise Edition"
	case tcrOwnHost.MatchString(host):
		return KindTCR, "the host is one of Tencent Container Registry"
	case host == quayHost:
		return KindQuay, "the host is quay.io"
	case host == gitlabHost:
		return KindGitLab, "the host is that of gitlab.com's registry"
	}
	return "", ""
}
