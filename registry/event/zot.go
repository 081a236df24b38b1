package event

import (
	"net/http"
	"strings"
	"time"

	"github.com/sealwright/sealwright/registry"
)

// parseZot reads CloudEvents of zot, whose attributes are in headers. They
// carry the manifest, and no host.
func parseZot(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	kind, at := doc.cloudEvent(l.header)
	if doc.err != nil {
		return doc.err
	}
	if !strings.HasSuffix(kind, ".image.updated") { // before it may stand a name of the operator's
		n.ignore(OtherAction)
		return nil
	}
	reference, mediaType, manifest := doc.get("reference").must(), doc.get("mediaType").text(), doc.get("manifest").text()
	p := Push{Repository: doc.get("name").must(), Tag: reference, Digest: doc.get("digest").must(), At: at}
	if reference == p.Digest {
		p.Tag = ""
	}
	isManifest, _ := registry.Hint(mediaType, nil)
	switch {
	case doc.err != nil:
		return doc.err
	case !isManifest:
		n.ignore(NotAManifest)
		return nil
	case p.Tag == "" && registry.IsSignature(registry.Manifest{Raw: []byte(manifest)}): // see notes.push
		n.ignore(Signature)
		return nil
	}
	return n.push("", p)
}

// cloudEvent returns the type and the time of a CloudEvent in binary mode.
func (r *reading) cloudEvent(header http.Header) (kind string, at time.Time) {
	if version := header.Get("Ce-Specversion"); version != "1.0" {
		r.fail("Ce-Specversion", "want 1.0, have %s", quote(version))
	}
	attribute := func(name string) value {
		if said := header.Get(name); said != "" {
			return value{r, name, said}
		}
		return value{r, name, nil}
	}
	return attribute("Ce-Type").must(), attribute("Ce-Time").when()
}
