package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

const (
	tcrPage      = 100 // the most that TCR lists at once
	tcrHost      = "https://tcr.tencentcloudapi.com"
	tcrVersion   = "2019-09-24"
	tcrRegionVar = "TENCENTCLOUD_REGION"
)

var tcrInstance = regexp.MustCompile(`^tcr-[0-9a-z]{1,32}$`)

// A tcrLister lists an instance of Tencent Container Registry.
type tcrLister struct {
	api      *vendorAPI
	said     string // the registry, for errors
	size     int    // of a page
	region   string
	instance string
}

var _ manifestLister = (*tcrLister)(nil)

// openTCR returns the listing of a registry of kind tcr. Its instance comes from
// cfg.Cloud, its region from there or from the environment.
func openTCR(c *Client, cfg Config) (manifestLister, error) {
	t := &tcrLister{said: cfg.Host, size: pageSize(cfg, tcrPage), region: cfg.Cloud.Region, instance: cfg.Cloud.Instance}
	if t.region == "" {
		t.region = os.Getenv(tcrRegionVar)
	}
	var faults []error
	if !cloudRegion.MatchString(t.region) {
		faults = append(faults, fmt.Errorf("cloud.region: %q: want a region like ap-guangzhou, also from the environment variable %s", plain(t.region), tcrRegionVar))
	}
	if !tcrInstance.MatchString(t.instance) {
		faults = append(faults, fmt.Errorf("cloud.instance: %q: want the id of an instance like tcr-f7g1ir99", plain(t.instance)))
	}
	key, err := cfg.cloudKey("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "")
	faults = append(faults, err)
	t.api, err = newVendorAPI(c, cfg, tcrHost)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, err
	}
	t.api.transport.base = tcrStatuses{t.api.transport.base}
	t.api.diagnose = tcrDiagnostics
	t.api.credentials = func(context.Context) (authorise, error) {
		k, err := key()
		return func(req *http.Request, body []byte) error {
			signTC3(req, body, k, "tcr", time.Now())
			return nil
		}, err
	}
	return t, nil
}

// tcrStatuses gives TCR's refusals, which all come with status 200, the status
// that says what they are, so that those that pass are tried again.
type tcrStatuses struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t tcrStatuses) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	start, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // a refusal is short
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	if said := tcrDiagnostics(start); len(said) > 0 {
		resp.StatusCode = tcrStatus(said[0].Code)
		resp.Status = http.StatusText(resp.StatusCode)
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), resp.Body), resp.Body}
	return resp, nil
}

func tcrDiagnostics(body []byte) []diagnostic {
	var said struct {
		Response struct {
			Error *diagnostic
		}
	}
	if json.Unmarshal(body, &said) != nil || said.Response.Error == nil {
		return nil
	}
	return []diagnostic{*said.Response.Error}
}

// tcrStatus is the HTTP status that means what an error code of TCR does. The
// first word of a code is common to all of Tencent's APIs.
func tcrStatus(code string) int {
	family, detail, _ := strings.Cut(code, ".")
	switch {
	case detail == "UnauthorizedOperation", strings.HasSuffix(detail, "ErrorTcrUnauthorized"), family == "UnauthorizedOperation":
		return http.StatusForbidden
	case family == "AuthFailure":
		return http.StatusUnauthorized
	case family == "ResourceNotFound":
		return http.StatusNotFound
	case family == "RequestLimitExceeded":
		return http.StatusTooManyRequests
	case family == "InternalError" && (detail == "" || detail == "ErrorTcrInternal" || detail == "DbError"):
		return http.StatusInternalServerError
	case family == "UnsupportedOperation", family == "UnsupportedRegion", family == "InvalidAction", family == "NoSuchVersion", family == "ActionOffline":
		return http.StatusNotImplemented
	default:
		return http.StatusBadRequest
	}
}

// call asks for a page of what an action lists. Its Offset is a page's number,
// the first of which is 1.
func (t *tcrLister) call(ctx context.Context, action string, page int, params map[string]any, out any) error {
	body := map[string]any{"RegistryId": t.instance, "Limit": t.size, "Offset": page + 1}
	for name, value := range params {
		body[name] = value
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing the request: %w", err)
	}
	_, err = t.api.ask(ctx, vendorCall{method: http.MethodPost, body: raw, header: http.Header{
		"Content-Type":  {"application/json; charset=utf-8"},
		"X-Tc-Action":   {action},
		"X-Tc-Version":  {tcrVersion},
		"X-Tc-Region":   {t.region},
		"X-Tc-Language": {"en-US"},
	}}, &struct{ Response any }{out})
	return err
}

func (t *tcrLister) untagged() string {
	return "the API of Tencent Container Registry lists tags, and no artifact without one"
}

// A tcrRepository is a repository as TCR lists it. In its documentation's
// examples the name begins with the namespace.
type tcrRepository struct{ Name, Namespace string }

func (r tcrRepository) full() string {
	if strings.HasPrefix(r.Name, r.Namespace+"/") {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

// repositories lists those of all namespaces of the instance.
func (t *tcrLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	list := numberedListing[tcrRepository]{
		size: t.size,
		key:  tcrRepository.full,
		fetch: func(ctx context.Context, page int) (numberedPage[tcrRepository], error) {
			var answer struct {
				RepositoryList []tcrRepository
				TotalCount     int
			}
			err := t.call(ctx, "DescribeRepositories", page, map[string]any{"SortBy": "-creation_time"}, &answer)
			return numberedPage[tcrRepository]{answer.RepositoryList, answer.TotalCount}, err
		},
	}
	return namesOf(ctx, list, t.said)
}

// A tcrImage is a tag as TCR lists it: a digest with several tags comes once for
// each. Its size is the image's.
type tcrImage struct {
	Digest       string
	ImageVersion string // the tag
	Kind         string // like Artifact::application/vnd.docker.distribution.manifest.v2+json
}

func (i tcrImage) listed() listedEntry {
	_, mediaType, _ := strings.Cut(i.Kind, "::")
	var tags []string
	if i.ImageVersion != "" {
		tags = []string{i.ImageVersion}
	}
	return newListedEntry(i.Digest, mediaType, "", tags)
}

// manifests yields a manifest once for each of its tags, with that one.
func (t *tcrLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		namespace, name, err := namespaced(repository)
		if err != nil {
			yield(listedManifest{}, err)
			return
		}
		list := numberedListing[tcrImage]{
			size: t.size,
			key:  func(i tcrImage) string { return i.ImageVersion + "@" + i.Digest },
			fetch: func(ctx context.Context, page int) (numberedPage[tcrImage], error) {
				var answer struct {
					ImageInfoList []tcrImage
					TotalCount    int
				}
				err := t.call(ctx, "DescribeImages", page, map[string]any{"NamespaceName": namespace, "RepositoryName": name}, &answer)
				return numberedPage[tcrImage]{answer.ImageInfoList, answer.TotalCount}, err
			},
		}
		for i, err := range list.entries(ctx, after) {
			if err != nil {
				yield(listedManifest{}, fmt.Errorf("listing the images of %s/%s: %w", t.said, repository, err))
				return
			}
			m := i.item.listed()
			if m.Cursor = i.cursor; !yield(m.listedManifest, m.fault) {
				return
			}
		}
	}
}
