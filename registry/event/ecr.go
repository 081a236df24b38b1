package event

import (
	"regexp"
	"strings"

	"github.com/sealwright/sealwright/registry"
)

var (
	awsAccount = regexp.MustCompile(`^[0-9]{12}$`)
	awsRegion  = regexp.MustCompile(`^[a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}$`)
)

// parseECR reads events of ECR as EventBridge delivers them. The host is that
// of the account and the region. Newer events say media types; without them, a
// push of a signature by digest alone cannot be told from others.
func parseECR(l letter, n *notes) error {
	doc, err := read("", l.body)
	if err != nil {
		return err
	}
	if err := n.event(); err != nil {
		return err
	}
	detail, ours := doc.get("detail"), doc.get("source").must() == "aws.ecr"
	ours = doc.get("detail-type").must() == "ECR Image Action" && ours
	if doc.err != nil {
		return doc.err
	}
	if !ours {
		n.ignore(OtherAction)
		return nil
	}
	action, result := detail.get("action-type").must(), detail.get("result").must()
	p := Push{
		Repository: detail.get("repository-name").text(),
		Tag:        detail.get("image-tag").text(),
		Digest:     detail.get("image-digest").text(),
		At:         doc.get("time").when(),
	}
	manifest, artifact := detail.get("manifest-media-type").text(), detail.get("artifact-media-type").text()
	host := ecrHost(doc)
	isManifest, isSignature := registry.Hint(manifest, []registry.Part{{MediaType: artifact}})
	switch {
	case doc.err != nil:
		return doc.err
	case action != "PUSH" || result != "SUCCESS":
		n.ignore(OtherAction)
		return nil
	case manifest != "" && !isManifest:
		n.ignore(NotAManifest)
		return nil
	case isSignature && p.Tag == "": // see notes.push
		n.ignore(Signature)
		return nil
	}
	return n.push(doc.at, p, host)
}

func ecrHost(doc value) string {
	account, region := doc.get("account").must(), doc.get("region").must()
	if doc.err == nil && (!awsAccount.MatchString(account) || !awsRegion.MatchString(region)) {
		doc.fail("", "account %s or region %s is not valid", quote(account), quote(region))
	}
	return account + ".dkr.ecr." + region + "." + awsDomain(region)
}

func awsDomain(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}
