package event

import (
	"fmt"
	"strings"
)

// parseArtifactory reads webhooks of Artifactory's domain docker. They say no
// host, but the key of the repository that holds the image. The checksum is
// that of the manifest.
func (cfg Config) parseArtifactory(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	if err := n.event(); err != nil {
		return err
	}
	domain, kind, data := doc.get("domain").must(), doc.get("event_type").must(), doc.get("data")
	switch {
	case doc.err != nil:
		return doc.err
	case domain != "docker" || kind != "pushed":
		n.ignore(OtherAction)
		return nil
	}
	key, image, tag := data.get("repo_key").must(), data.get("image_name").must(), data.get("tag").must()
	file, checksum := data.get("name").text(), data.get("sha256").text()
	if doc.err != nil {
		return doc.err
	}
	repository, err := cfg.repositoryOf(key, image)
	if err != nil {
		return err
	}
	p := Push{Repository: repository, Tag: tag}
	if file == "manifest.json" || file == "list.manifest.json" {
		p.Digest = "sha256:" + checksum
	}
	// The folder of what was pushed by digest alone is named after the digest.
	if digest := strings.Replace(tag, "sha256__", "sha256:", 1); strings.HasPrefix(digest, "sha256:") {
		p.Tag = ""
		if p.Digest == "" {
			p.Digest = digest
		}
	}
	return n.push("data", p)
}

// repositoryOf returns our name of an image in a repository of Artifactory or
// Nexus.
func (cfg Config) repositoryOf(key, image string) (string, error) {
	if key != cfg.Key {
		return "", fmt.Errorf("%w: repository %s, not %s", ErrForeign, quote(key), cfg.Key)
	}
	if cfg.KeyInNames {
		return key + "/" + image, nil
	}
	return image, nil
}
