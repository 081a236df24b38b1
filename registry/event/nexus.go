package event

import (
	"regexp"
	"strings"
)

var nexusManifest = regexp.MustCompile(`^/?v2/(.+)/manifests/([^/]+)$`)

// parseNexus reads webhooks of a Nexus repository, of components and of assets.
// They say no host, but the name of the Nexus repository; and no digest, unless
// an asset was pushed by it.
func (cfg Config) parseNexus(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	if err := n.event(); err != nil {
		return err
	}
	at := doc.get("timestamp").when("2006-01-02T15:04:05.000-0700", "2006-01-02T15:04:05.000Z07:00")
	action := doc.get("action").must()
	component, asset := doc.get("component"), doc.get("asset")
	format := component.get("format").text() + asset.get("format").text()
	switch {
	case doc.err != nil:
		return doc.err
	case action != "CREATED" && action != "UPDATED":
		n.ignore(OtherAction)
		return nil
	case format != "docker":
		n.ignore(NotAManifest)
		return nil
	}
	image, reference := component.get("name").text(), component.get("version").text()
	if asset.present() {
		path := nexusManifest.FindStringSubmatch(asset.get("name").must())
		if path == nil {
			n.ignore(NotAManifest)
			return doc.err
		}
		image, reference = path[1], path[2]
	}
	repository, err := cfg.repositoryOf(doc.get("repositoryName").must(), image)
	if doc.err != nil {
		return doc.err
	}
	if err != nil {
		return err
	}
	p := Push{Repository: repository, Tag: reference, At: at}
	if strings.Contains(reference, ":") {
		p.Tag, p.Digest = "", reference
	}
	return n.push("", p)
}
