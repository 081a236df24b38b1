package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// artifactoryRows is how many rows a query asks for: items, or items with their
// properties, which some versions count one by one.
const artifactoryRows = 2000

// An artifactoryLister lists a Docker or OCI repository of JFrog Artifactory by
// its query language, AQL.
type artifactoryLister struct{ keyed }

var _ manifestLister = (*artifactoryLister)(nil)

// openArtifactory returns the listing of a registry of kind artifactory. Its
// repository key is cfg.Cloud.Project; its API is /artifactory at the host,
// unless cfg.API says else.
func openArtifactory(c *Client, cfg Config) (manifestLister, error) {
	k, err := openKeyed(c, cfg, scheme(cfg.Insecure)+"://"+cfg.Host+"/artifactory")
	if err != nil {
		return nil, err
	}
	k.api.diagnose = artifactoryDiagnostics
	return &artifactoryLister{k}, nil
}

func artifactoryDiagnostics(body []byte) []diagnostic {
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &said) != nil {
		return nil
	}
	list := make([]diagnostic, 0, len(said.Errors))
	for _, e := range said.Errors {
		list = append(list, diagnostic{Message: e.Message})
	}
	return list
}

func (a *artifactoryLister) untagged() string { return "" }

func (a *artifactoryLister) repositories(ctx context.Context) iter.Seq2[string, error] {
	return a.catalog(ctx, "api", "docker", a.key, "v2", "_catalog")
}

// An artifactoryItem is a file that holds a manifest: in the directory of each of
// its tags, and in that of its digest if it was pushed so.
type artifactoryItem struct {
	Path       string `json:"path"`
	Name       string `json:"name"`
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"`
	Properties []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"properties"`
}

// property returns the first of the properties that has a value.
func (i artifactoryItem) property(keys ...string) string {
	for _, key := range keys {
		for _, p := range i.Properties {
			if p.Key == key && p.Value != "" {
				return p.Value
			}
		}
	}
	return ""
}

// ref is the tag or digest that the item's directory is named after.
func (i artifactoryItem) ref() string {
	ref := i.Path[strings.LastIndexByte(i.Path, '/')+1:]
	if hex, found := strings.CutPrefix(ref, "sha256__"); found {
		return "sha256:" + hex
	}
	return ref
}

// manifests yields manifests in the order of their digests, which puts a
// manifest's tags together. Their sizes are the files', and so the manifests'.
// The cursor is the digest: what comes or goes meanwhile moves nothing else.
func (a *artifactoryLister) manifests(ctx context.Context, repository, after string) iter.Seq2[listedManifest, error] {
	return func(yield func(listedManifest, error) bool) {
		var group []artifactoryItem // of one digest, which may go on in the next page
		give := func() bool {
			if len(group) == 0 {
				return true
			}
			m := artifactoryEntry(group)
			group = group[:0]
			return yield(m.listedManifest, m.fault)
		}
		image, err := a.image(repository)
		if err == nil {
			err = a.items(ctx, image, after, func(item artifactoryItem) bool {
				if len(group) > 0 && group[0].SHA256 != item.SHA256 && !give() {
					return false
				}
				group = append(group, item)
				return true
			})
		}
		switch {
		case errors.Is(err, errStopped):
		case err != nil:
			yield(listedManifest{}, fmt.Errorf("listing the manifests of %s/%s: %w", a.said, repository, err))
		default:
			give()
		}
	}
}

// items gives every item of an image whose digest comes after a digest. No item
// at all means that there is no such image.
func (a *artifactoryLister) items(ctx context.Context, image, after string, give func(artifactoryItem) bool) error {
	var last artifactoryItem
	last.SHA256 = after
	var loop loopDetector
	for first := true; ; first = false {
		var answer struct {
			Results []artifactoryItem `json:"results"`
		}
		_, err := a.api.ask(ctx, vendorCall{
			method: http.MethodPost, segments: []string{"api", "search", "aql"},
			header: http.Header{"Content-Type": {"text/plain"}}, body: artifactoryQuery(a.key, image, last, a.size),
		}, &answer)
		if err != nil {
			return err
		}
		rows := 0
		for _, item := range answer.Results {
			rows += max(1, len(item.Properties))
			if !give(item) {
				return errStopped
			}
			last = item
		}
		switch {
		case first && after == "" && len(answer.Results) == 0:
			return fmt.Errorf("no such image in %s: %w", a.key, ErrNotFound)
		case rows < a.size: // whatever the limit counts, it did not cut
			return nil
		case loop.again(last.SHA256 + " " + last.Path):
			return fmt.Errorf("pages go round in a circle: %w", ErrCorrupt)
		}
	}
}

// artifactoryQuery asks for the manifests in the directories of an image, not of
// those below it, that come after an item,
// at most limit rows of them.
func artifactoryQuery(key, image string, last artifactoryItem, limit int) []byte {
	type object = map[string]any
	criteria := []object{
		{"repo": key},
		{"path": object{"$match": image + "/*"}},
		{"depth": strconv.Itoa(strings.Count(image, "/") + 3)},
		{"$or": []object{{"name": "manifest.json"}, {"name": "list.manifest.json"}}},
	}
	switch next := (object{"sha256": object{"$gt": last.SHA256}}); {
	case last.Path != "":
		same := object{"$and": []object{{"sha256": last.SHA256}, {"path": object{"$gt": last.Path}}}}
		criteria = append(criteria, object{"$or": []object{next, same}})
	case last.SHA256 != "":
		criteria = append(criteria, next)
	}
	find, _ := json.Marshal(object{"$and": criteria}) // strings alone: cannot fail
	return fmt.Appendf(nil, `items.find(%s).include("repo","path","name","size","sha256","property").sort({"$asc":["sha256","path"]}).limit(%d)`,
		find, limit)
}

// artifactoryEntry makes one manifest of the items that have its digest.
func artifactoryEntry(group []artifactoryItem) listedEntry {
	var m listedEntry
	m.Digest, m.fault = listedDigest("sha256:" + group[0].SHA256)
	m.Size = group[0].Size
	for _, item := range group {
		m.MediaType = cmp.Or(m.MediaType, listedType(item.property("docker.manifest.type", "artifactory.content-type")))
		m.ArtifactType = cmp.Or(m.ArtifactType, listedArtifactType(item.property("oci.artifact.type")))
		ref := item.ref()
		digest, err := v1.NewHash(ref)
		switch {
		case err != nil:
			m.Tags = append(m.Tags, ref)
		case digest != m.Digest && m.fault == nil:
			m.fault = fmt.Errorf("manifest of %s is stored as %s: %w", m.Digest, digest, ErrCorrupt)
		}
	}
	if m.fault == nil {
		m.Cursor = group[0].SHA256
	}
	return m
}
