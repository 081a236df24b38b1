package event

import "github.com/sealwright/sealwright/registry"

// parseDistribution reads notifications of CNCF distribution and of registries
// that come from it. Every event says the host that was asked; the target's URL
// is relative where the registry is configured so.
func parseDistribution(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	if _, ok := doc.get("events").v.([]any); !ok {
		return malformed("events", "want a list, have %s", kindOf(doc.get("events").v))
	}
	for _, e := range doc.get("events").list() {
		if err := parseNotification(e, n); err != nil {
			return err
		}
	}
	return doc.err
}

// parseNotification reads one event, which ACR sends alone.
func parseNotification(e value, n *notes) error {
	if err := n.event(); err != nil {
		return err
	}
	target, action := e.get("target"), e.get("action").must()
	mediaType := target.get("mediaType").text()
	p := Push{
		Repository: target.get("repository").text(),
		Tag:        target.get("tag").text(),
		Digest:     target.get("digest").text(),
		At:         e.get("timestamp").when(),
	}
	host := e.get("request").get("host").text()
	manifest, signature := registry.Hint(mediaType, parseReferences(target))
	url := target.get("url")
	urlHost, err := urlHost(url.text())
	if err != nil {
		url.fail(url.at, "%s", err)
	}
	switch {
	case e.err != nil:
		return e.err
	case action != "push":
		n.ignore(OtherAction)
		return nil
	case !manifest:
		n.ignore(NotAManifest)
		return nil
	case signature && p.Tag == "": // see notes.push
		n.ignore(Signature)
		return nil
	case host == "" && urlHost == "":
		return malformed(e.at, "no host in request.host or target.url")
	}
	hosts := []string{host, urlHost}
	if host == "" || urlHost == "" {
		hosts = []string{host + urlHost}
	}
	return n.push(e.at, p, hosts...)
}

// parseReferences returns what a manifest names: the config and the layers of
// an image, the manifests of an index.
func parseReferences(target value) []registry.Part {
	list := target.get("references").list()
	parts := make([]registry.Part, 0, len(list))
	for _, reference := range list {
		parts = append(parts, registry.Part{
			MediaType:    reference.get("mediaType").text(),
			ArtifactType: reference.get("artifactType").text(),
		})
	}
	return parts
}
