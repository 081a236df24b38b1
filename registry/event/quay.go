package event

import "strings"

// parseQuay reads webhooks of Quay's "push to repository". They name tags and
// no digest; what is pushed by digest alone is not told. Quay's other events
// have no updated_tags.
func parseQuay(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	repository, url := doc.get("repository").text(), doc.get("docker_url").text()
	tags := doc.get("updated_tags").list()
	switch {
	case doc.err != nil:
		return doc.err
	case len(tags) == 0:
		n.ignore(OtherAction)
		return nil
	}
	host, found := strings.CutSuffix(url, "/"+repository)
	if repository == "" || !found {
		return malformed("docker_url", "%s is not that of the repository %s", quote(url), quote(repository))
	}
	for _, tag := range tags {
		if err := n.event(); err != nil {
			return err
		}
		p := Push{Repository: repository, Tag: tag.must()}
		if doc.err != nil {
			return doc.err
		}
		if err := n.push(tag.at, p, host); err != nil {
			return err
		}
	}
	return nil
}
