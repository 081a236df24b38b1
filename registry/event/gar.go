package event

import (
	"encoding/base64"
	"strings"
)

// parseGAR reads pushes of Pub/Sub with what Artifact Registry publishes in the
// topic gcr. A push by digest and its tag are two messages. The host is in each
// name.
func parseGAR(l letter, n *notes) error {
	envelope, err := read("", l.body)
	if err != nil {
		return err
	}
	message := envelope.get("message")
	encoded, at := message.get("data").must(), message.get("publishTime").when()
	if envelope.err != nil {
		return envelope.err
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return malformed("message.data", "is not base64")
	}
	doc, err := read("message.data", data)
	if err != nil {
		return err
	}
	if err := n.event(); err != nil {
		return err
	}
	action := doc.get("action").must()
	digest, tag := doc.image("digest", "@"), doc.image("tag", ":")
	switch {
	case doc.err != nil:
		return doc.err
	case action != "INSERT":
		n.ignore(OtherAction)
		return nil
	}
	p := Push{Repository: digest.repository, Tag: tag.reference, Digest: digest.reference, At: at}
	switch {
	case digest.host == "":
		p.Repository = tag.repository
		return n.push(doc.at, p, tag.host)
	case tag.host == "":
		return n.push(doc.at, p, digest.host)
	case tag.repository != digest.repository:
		return malformed(doc.at, "tag and digest are of two repositories")
	}
	return n.push(doc.at, p, digest.host, tag.host)
}

type imageName struct{ host, repository, reference string }

// image splits HOST/REPOSITORY, a separator and a reference.
func (v value) image(member, separator string) imageName {
	said := v.get(member)
	if said.text() == "" {
		return imageName{}
	}
	host, rest, _ := strings.Cut(said.text(), "/")
	at := strings.LastIndex(rest, separator)
	if host == "" || at <= 0 || at == len(rest)-1 {
		said.fail(said.at, "%s: want HOST/REPOSITORY%sREFERENCE", quote(said.text()), separator)
		return imageName{}
	}
	return imageName{host: host, repository: rest[:at], reference: rest[at+1:]}
}
