package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	swrPage       = 100 // the most that SWR lists at once
	swrProjectVar = "HUAWEICLOUD_SDK_PROJECT_ID"
	// swrEurope is the one region of Huawei Cloud in another domain.
	swrEurope = "eu-west-101"
)

var (
	cloudRegion = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	cloudID     = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
)

// An swrLister lists an instance of Huawei Cloud SWR Enterprise Edition, which
// is a Harbor with an API of its own.
type swrLister struct {
	api      *vendorAPI
	said     string   // the registry, for errors
	size     int      // of a page
	instance []string // of the path, up to the instance
}

var _ manifestLister = (*swrLister)(nil)

// openSWR returns the listing of a registry of kind swr. Its project comes from
// cfg.Cloud or the environment, its instance from cfg.Cloud, and the API's host
// from cfg.API or the region.
func openSWR(c *Client, cfg Config) (manifestLister, error) {
	usual, err := swrHost(cfg)
	project := cfg.Cloud.Project
	if project == "" {
		project = os.Getenv(swrProjectVar)
	}
	faults := []error{err}
	if !cloudID.MatchString(project) {
		faults = append(faults, fmt.Errorf("cloud.project: %q: want the project's id, also from the environment variable %s", plain(project), swrProjectVar))
	}
	if !cloudID.MatchString(cfg.Cloud.Instance) {
		faults = append(faults, fmt.Errorf("cloud.instance: %q: want the id of an SWR Enterprise Edition instance", plain(cfg.Cloud.Instance)))
	}
	key, err := cfg.cloudKey("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN")
	faults = append(faults, err)
	api, err := newVendorAPI(c, cfg, usual)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	api.diagnose = swrDiagnostics
	api.credentials = func(context.Context) (authorise, error) {
		k, err := key()
		return func(req *http.Request, body []byte) error {
			req.Header.Set("X-Project-Id", project)
			signSDKHMAC(req, body, k, time.Now())
			return nil
		}, err
	}
	return &swrLister{
		api: api, said: cfg.Host, size: pageSize(cfg, swrPage),
		instance: []string{"v2", project, "instances", cfg.Cloud.Instance},
	}, nil
}

func swrHost(cfg Config) (string, error) {
	domain := ".myhuaweicloud.com"
	switch region := cfg.Cloud.Region; {
	case cfg.API != "":
		return "", nil
	case !cloudRegion.MatchString(region):
		return "", fmt.Errorf("cloud.region: %q: want a region like cn-north-4, or api", plain(region))
	case region == swrEurope:
		domain = ".myhuaweicloud.eu"
	}
	return "https://swr-api." + cfg.Cloud.Region + domain, nil
}

// swrDiagnostics reads both shapes of an error: SWR's and the gateway's before it.
func swrDiagnostics(body []byte) []diagnostic {
	var said struct {
		Code    string `json:"error_code"`
		Message string `json:"error_msg"`
		Errors  []struct {
			Code    string `json:"errorCode"`
			Message string `json:"errorMessage"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil { // the status says enough
		return nil
	}
	list := []diagnostic{{Code: said.Code, Message: said.Message}}
	for _, e := range said.Errors {
		list = append(list, diagnostic{Code: e.Code, Message: e.Message})
	}
	return list
}

func (s *swrLister) untagged() string { return "" }

// repositories lists those of all namespaces of the instance.
func (s *swrLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	type repository struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace_name"`
	}
	list := numberedListing[repository]{
		size: s.size,
		key:  func(r repository) string { return r.Namespace + "/" + r.Name },
		fetch: func(ctx context.Context, page int) (numberedPage[repository], error) {
			var answer struct {
				Repositories []repository `json:"repositories"`
				Total        int          `json:"total"`
			}
			call := s.call(page, "repositories")
			call.query.Set("order_column", "created_at")
			call.query.Set("order_type", "desc")
			_, err := s.api.ask(ctx, call, &answer)
			return numberedPage[repository]{answer.Repositories, answer.Total}, err
		},
	}
	return namesOf(ctx, list, s.said)
}

// namesOf yields the names of a listing of repositories.
func namesOf[T any](ctx context.Context, list numberedListing[T], said string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for r, err := range list.entries(ctx, "") {
			if err != nil {
				yield("", fmt.Errorf("listing the repositories of %s: %w", said, err))
				return
			}
			name := list.key(r.item)
			if !yield(name, checkRepository(name)) {
				return
			}
		}
	}
}

// An swrArtifact is a manifest as SWR lists it. Its size is the image's.
type swrArtifact struct {
	Digest            string `json:"digest"`
	MediaType         string `json:"media_type"` // the config's
	ManifestMediaType string `json:"manifest_media_type"`
	Tags              []struct {
		Name string `json:"name"`
	} `json:"tags"`
}

func (a swrArtifact) listed() listedEntry {
	tags := make([]string, 0, len(a.Tags))
	for _, t := range a.Tags {
		tags = append(tags, t.Name)
	}
	return newListedEntry(a.Digest, a.ManifestMediaType, a.MediaType, tags)
}

// manifests lists with offsets, which SWR wants to be multiples of the limit.
func (s *swrLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		namespace, name, err := namespaced(repository)
		if err != nil {
			yield(listedManifest{}, err)
			return
		}
		// A name with slashes is one part of the path, and escaped twice as in
		// Harbor: what routes the request undoes it once.
		name = strings.ReplaceAll(name, "/", "%2F")
		list := numberedListing[swrArtifact]{
			size: s.size,
			key:  func(a swrArtifact) string { return a.Digest },
			fetch: func(ctx context.Context, page int) (numberedPage[swrArtifact], error) {
				var answer struct {
					Artifacts []swrArtifact `json:"artifacts"`
					Total     int           `json:"total"`
				}
				_, err := s.api.ask(ctx, s.call(page, "namespaces", namespace, "repositories", name, "artifacts"), &answer)
				return numberedPage[swrArtifact]{answer.Artifacts, answer.Total}, err
			},
		}
		for a, err := range list.entries(ctx, after) {
			if err != nil {
				yield(listedManifest{}, fmt.Errorf("listing the artifacts of %s/%s: %w", s.said, repository, err))
				return
			}
			m := a.item.listed()
			if m.Cursor = a.cursor; !yield(m.listedManifest, m.fault) {
				return
			}
		}
	}
}

func (s *swrLister) call(page int, segments ...string) vendorCall {
	return vendorCall{
		segments: append(s.instance[:len(s.instance):len(s.instance)], segments...),
		query:    url.Values{"offset": {strconv.Itoa(page * s.size)}, "limit": {strconv.Itoa(s.size)}},
		header:   http.Header{"Content-Type": {"application/json"}},
	}
}

// namespaced takes a repository's name apart where a vendor has namespaces.
func namespaced(repository string) (namespace, name string, err error) {
	if err := checkRepository(repository); err != nil {
		return "", "", err
	}
	namespace, name, found := strings.Cut(repository, "/")
	if !found {
		return "", "", fmt.Errorf("repository %s is in no namespace: %w", repository, ErrNotFound)
	}
	return namespace, name, nil
}
