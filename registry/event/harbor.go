package event

import "strings"

// parseHarbor reads webhooks of Harbor, in its own format or as a CloudEvent in
// one JSON document, and of SWR Enterprise and TCR, which took over the former.
// The host is that of each resource. A resource without a tag has its digest
// where the tag would be.
func parseHarbor(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	kind, data, at := doc.get("type").must(), doc.get("event_data"), doc.get("occur_at").unix()
	if doc.get("specversion").present() {
		data, at = doc.get("data"), doc.get("time").when()
	}
	switch {
	case doc.err != nil:
		return doc.err
	case kind != "PUSH_ARTIFACT" && kind != "pushImage" && kind != "harbor.artifact.pushed":
		n.ignore(OtherAction)
		return nil
	}
	repository := data.get("repository").get("repo_full_name").must()
	resources := data.get("resources").list()
	if len(resources) == 0 {
		doc.fail(data.get("resources").at, "is empty")
	}
	for _, resource := range resources {
		if err := n.event(); err != nil {
			return err
		}
		tag, digest := resource.get("tag").text(), resource.get("digest").text()
		host, _, _ := strings.Cut(resource.get("resource_url").must(), "/")
		if strings.Contains(tag, ":") && digest == "" {
			digest = tag
		}
		if tag == digest {
			tag = ""
		}
		if doc.err != nil {
			return doc.err
		}
		p := Push{Repository: repository, Tag: tag, Digest: digest, At: at}
		if err := n.push(resource.at, p, host); err != nil {
			return err
		}
	}
	return doc.err
}
