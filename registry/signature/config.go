package signature

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A signature manifest names a config, in which rootfs.diff_ids lists one
// digest per layer. No verifier reads it, but whoever appends with cosign up to
// 2.6 needs as many diff_ids as there are layers: with fewer, "cosign sign"
// fails ("mismatched fs layers and diff ids"). So {} will not do.
//
// What the digests are is read by nobody. cosign puts the payload's, which
// makes a config blob for every image; ours depends on the number of layers
// alone, so it is uploaded once per repository: two requests less for every
// signature.

// maxConfig bounds a config that is read, in bytes: MaxLayers entries of
// cosign's have a tenth of it.
const maxConfig = 1 << 20

// epoch is the time that cosign writes where it has none to tell.
const epoch = "0001-01-01T00:00:00Z"

type configFile struct {
	Architecture string         `json:"architecture"`
	Created      string         `json:"created"`
	History      []historyEntry `json:"history"`
	OS           string         `json:"os"`
	RootFS       rootFS         `json:"rootfs"`
	Config       struct{}       `json:"config"`
}

type historyEntry struct {
	Created string `json:"created"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// constantConfig returns our config of a manifest with n layers.
func constantConfig(n int) []byte {
	f := configFile{Created: epoch, History: []historyEntry{}, RootFS: rootFS{Type: "layers", DiffIDs: []string{}}}
	for i := range n {
		f.History = append(f.History, historyEntry{epoch})
		f.RootFS.DiffIDs = append(f.RootFS.DiffIDs, hash(fmt.Appendf(nil, "sealwright signature %d", i)).String())
	}
	return encode(f)
}

// newConfig describes constantConfig content.
func newConfig(content []byte) object {
	return object{
		{Name: "mediaType", Value: encode(string(types.OCIConfigJSON))},
		{Name: "size", Value: encode(len(content))},
		{Name: "digest", Value: encode(hash(content).String())},
	}
}

// configFor returns the config blob and its descriptor for a manifest that has
// the layers of plan instead of base's. A nil blob means that base's config
// stays as it is: it is no image config, cannot be read, or did not match its
// layers before.
func (c *Cosign) configFor(ctx context.Context, repository string, base *manifest, plan []planned) (blob []byte, desc object, err error) {
	if base == nil {
		blob = constantConfig(len(plan))
		return blob, newConfig(blob), nil
	}
	if t := base.configType(); t != types.OCIConfigJSON && t != types.DockerConfigJSON {
		return nil, base.config, nil
	}
	named, err := base.config.text("digest")
	if err != nil {
		return nil, base.config, nil //nolint:nilerr // a config that names nothing is left alone
	}
	if named == hash(constantConfig(len(base.layers))).String() {
		blob = constantConfig(len(plan))
	} else if blob, err = c.adaptedConfig(ctx, repository, named, base, plan); err != nil || blob == nil {
		return nil, base.config, err
	}
	// An inlined copy of the old content would contradict the new digest.
	desc = base.config.without("data").
		with("size", encode(len(blob))).
		with("digest", encode(hash(blob).String()))
	return blob, desc, nil
}

// adaptedConfig reads somebody else's config and makes it fit plan; nil when it
// cannot be.
func (c *Cosign) adaptedConfig(ctx context.Context, repository, named string, base *manifest, plan []planned) ([]byte, error) {
	digest, err := v1.NewHash(named)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // see configFor
	}
	content, err := c.Store.Blob(ctx, repository, digest, maxConfig)
	if err != nil {
		if blobIsBad(err) {
			return nil, nil //nolint:nilnil // see configFor
		}
		return nil, fmt.Errorf("reading config %s: %w", digest, err)
	}
	blob, err := adaptConfig(content, len(base.layers), plan)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // see configFor
	}
	return blob, nil
}

// adaptConfig makes an image config that fits had layers fit plan.
func adaptConfig(content []byte, had int, plan []planned) ([]byte, error) {
	top, err := parseObject(content)
	if err != nil {
		return nil, err
	}
	root, err := parseObject(top.value("rootfs"))
	if err != nil {
		return nil, err
	}
	var diffIDs, history []json.RawMessage
	if err := errors.Join(root.decode("diff_ids", &diffIDs), top.decode("history", &history)); err != nil {
		return nil, err
	}
	if len(diffIDs) != had {
		return nil, fmt.Errorf("%d diff_ids for %d layers", len(diffIDs), had)
	}
	root = root.with("diff_ids", encodeList(project(diffIDs, plan, func(l layer) json.RawMessage {
		return encode(l.digest.String())
	})))
	top = top.with("rootfs", root.encode())
	if len(history) == had {
		top = top.with("history", encodeList(project(history, plan, func(layer) json.RawMessage {
			return encode(historyEntry{epoch})
		})))
	}
	return top.encode(), nil
}

// project carries a list with one entry per old layer over to the planned ones.
func project(list []json.RawMessage, plan []planned, added func(layer) json.RawMessage) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(plan))
	for _, p := range plan {
		if p.from < 0 {
			out = append(out, added(p.layer))
			continue
		}
		out = append(out, list[p.from])
	}
	return out
}

// A planned layer of a manifest that will be written.
type planned struct {
	layer
	from int // its index in the manifest it comes from, -1: it is added
}

// plan lists the layers of base (nil: none) without those that drop names, and
// then those of add that are not among them.
func plan(base *manifest, drop func(layer) bool, add []layer) []planned {
	var out []planned
	there := map[string]bool{}
	if base != nil {
		for i, l := range base.layers {
			if !drop(l) {
				out = append(out, planned{l, i})
				there[l.key()] = true
			}
		}
	}
	for _, l := range add {
		if key := l.key(); !there[key] {
			out = append(out, planned{l, -1})
			there[key] = true
		}
	}
	return out
}
