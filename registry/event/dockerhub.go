package event

// parseDockerHub reads webhooks of Docker Hub. They say a tag and no digest;
// their host can only be docker.io.
func parseDockerHub(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	if err := n.event(); err != nil {
		return err
	}
	push := doc.get("push_data")
	p := Push{
		Repository: doc.get("repository").get("repo_name").must(),
		Tag:        push.get("tag").must(),
		At:         push.get("pushed_at").unix(),
	}
	if doc.err != nil {
		return doc.err
	}
	return n.push("", p, dockerHub)
}
