package registry

import "fmt"

// Ways are how a registry of some kind is listed, in words for people.
type Ways struct {
	Repositories string
	Tags         string
	// PerTag is what a tagged artifact costs beyond the listing's pages.
	PerTag   string
	Untagged string // "": not at all
}

const (
	withDigests = "digests are in the listing: no request per tag"
	withHead    = "one HEAD per tag, for its digest"
	eachRead    = ", each read once"
	sameListing = "by the same listing" + eachRead
)

// WaysOf returns how a kind is listed, with storage at hand or not. Its pages are
// as large as the daemon asks for them.
func WaysOf(kind string, storage bool) Ways {
	api := func(repositories, manifests string, size int) Ways {
		return Ways{Repositories: byPages(repositories, size), Tags: byPages(manifests, size), PerTag: withDigests, Untagged: sameListing}
	}
	catalog := Ways{Repositories: byPages("/v2/_catalog", defaultPageSize), Tags: byPages("/v2/NAME/tags/list", defaultPageSize), PerTag: withHead}
	switch kind {
	case KindDistribution:
		if storage {
			catalog.Untagged = "in the storage directory" + eachRead
		}
		return catalog
	case KindZot:
		catalog.PerTag = "digests by zot's search, a page at a time; a HEAD for each tag that it does not know"
		if storage {
			catalog.Untagged = "in the storage directory" + eachRead
		}
		return catalog
	case KindHarbor:
		return api("Harbor's API v2.0", "its artifacts", harborPage)
	case KindECR:
		return api("DescribeRepositories", "DescribeImages", vendorPage)
	case KindACR:
		return api("/acr/v1/_catalog", "/acr/v1/NAME/_manifests", vendorPage)
	case KindSWR:
		return api("SWR's API", "its artifacts", swrPage)
	case KindGAR:
		w := api("Artifact Registry's API with cloud.project, else /v2/_catalog", "/v2/NAME/tags/list, which has all manifests", garTags)
		w.Repositories = byPages("Artifact Registry's API with cloud.project, else /v2/_catalog", vendorPage)
		return w
	case KindArtifactory:
		w := api("_catalog of the repository", "AQL", artifactoryRows)
		return w
	case KindNexus:
		w := api("_catalog of the repository", "the search for assets", artifactoryRows)
		w.Tags = "the search for assets, in pages of Nexus' own size"
		return w
	case KindQuay:
		w := api("Quay's API v1", "its tags", quayPage)
		w.PerTag, w.Untagged = withDigests+"; one HEAD per index", ""
		return w
	case KindTCR:
		w := api("DescribeRepositories", "DescribeImages", tcrPage)
		w.Untagged = ""
		return w
	case KindOCIR:
		catalog.Repositories = byPages("the API of Oracle's container registry", ocirPage)
		catalog.Untagged = byPages("by the API of Oracle's container registry", ocirPage) + eachRead
		return catalog
	case KindGitLab:
		catalog.Repositories = byPages("GitLab's API v4", gitlabPage)
		return catalog
	case KindOCILayout:
		return Ways{Repositories: "the layouts in the directory", Tags: "index.json of each", PerTag: withDigests, Untagged: "in the files" + eachRead}
	default:
		return catalog
	}
}

func byPages(by string, size int) string { return fmt.Sprintf("%s, %d a page", by, size) }
